package sandbox

import (
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASessionsContainerIsConfined(t *testing.T) {
	t.Parallel()
	settings := Settings{
		Deployment: "d", Image: "image", Runtime: "runsc",
		Memory: 512 << 20, CPUs: 1.5, Pids: 100, TmpSize: 256 << 20,
	}
	config, host, _ := containerSpec(settings, specInputs{agentVolume: "volume", network: "net"}, Owner{SessionID: 1, UserID: 2, RunbookID: 3})

	assert.Equal(t, "1000:1000", config.User)
	assert.Equal(t, "image", config.Image)
	assert.Equal(t, []string{"/opt/runbook/agent", "serve"}, []string(config.Entrypoint))
	assert.Equal(t, map[string]string{
		LabelDeployment: "d", LabelRole: "session", LabelSession: "1", LabelUser: "2", LabelRunbook: "3", LabelAgent: "volume",
	}, config.Labels)
	assert.Empty(t, config.ExposedPorts)

	assert.Equal(t, "runsc", host.Runtime)
	assert.EqualValues(t, 512<<20, host.Memory)
	assert.Equal(t, host.Memory, host.MemorySwap, "no swap")
	assert.EqualValues(t, 1_500_000_000, host.NanoCPUs)
	assert.EqualValues(t, 128, host.CPUShares)
	assert.EqualValues(t, 100, *host.PidsLimit)
	assert.Equal(t, []string{"ALL"}, []string(host.CapDrop))
	assert.Empty(t, host.CapAdd)
	assert.Equal(t, []string{"no-new-privileges"}, host.SecurityOpt, "and Docker's default seccomp profile")
	assert.True(t, host.ReadonlyRootfs)
	assert.False(t, host.Privileged)
	assert.Equal(t, 500, host.OomScoreAdj)
	assert.Equal(t, "none", host.LogConfig.Type)
	assert.Equal(t, container.RestartPolicyDisabled, host.RestartPolicy.Name)
	assert.Equal(t, container.NetworkMode("net"), host.NetworkMode)
	assert.Empty(t, host.Binds)
	assert.Empty(t, host.PortBindings)
	assert.Empty(t, host.PidMode)
	assert.Empty(t, host.UTSMode)
	assert.True(t, host.IpcMode.IsPrivate())
	require.Len(t, host.Mounts, 1)
	assert.True(t, host.Mounts[0].ReadOnly)
	limits := map[string]int64{}
	for _, limit := range host.Ulimits {
		assert.Equal(t, limit.Soft, limit.Hard)
		limits[limit.Name] = limit.Hard
	}
	assert.Equal(t, map[string]int64{"nofile": 4096, "core": 0, "fsize": 256 << 20}, limits)
	assert.Equal(t, map[string]string{
		"/tmp":          "rw,nosuid,nodev,size=268435456,uid=1000,gid=1000,exec,mode=1777",
		"/home/runbook": "rw,nosuid,nodev,size=67108864,uid=1000,gid=1000,exec,mode=0755",
		"/run":          "rw,nosuid,nodev,size=1048576,uid=1000,gid=1000,noexec,mode=0700",
	}, host.Tmpfs)
}
