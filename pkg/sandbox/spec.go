package sandbox

import (
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-units"
)

// Settings are what a deployment may choose of its sandboxes.
type Settings struct {
	// Deployment separates deployments that share an engine.
	Deployment string
	// Image holds every runtime.
	Image string
	// Runtime is the engine's container runtime; empty for its default.
	Runtime string
	// Memory is the limit in bytes, swap included.
	Memory int64
	// CPUs may be a fraction.
	CPUs float64
	// Pids is the most processes and threads.
	Pids int64
	// TmpSize is the size of /tmp in bytes, and the most a file may have.
	TmpSize int64
	// CABundle is where CABundle of the configuration points; see caBundle.
	CABundle string
}

// Owner is whom a container belongs to.
type Owner struct {
	SessionID, UserID, RunbookID int64
}

// The labels of all that a deployment makes on an engine.
const (
	LabelDeployment = "dev.runbook.deployment"
	LabelRole       = "dev.runbook.role"
	LabelSession    = "dev.runbook.session"
	LabelUser       = "dev.runbook.user"
	LabelRunbook    = "dev.runbook.runbook"
	LabelAgent      = "dev.runbook.agent"
	labelContext    = "dev.runbook.context"
	labelPassword   = "dev.runbook.password" //nolint:gosec // the label's name
)

const (
	roleSession  = "session"
	rolePostgres = "postgres"
	roleAgent    = "agent"
)

const (
	// sandboxUser is uid:gid of all that runs in a session's container.
	sandboxUser = "1000:1000"
	sandboxUID  = "uid=1000,gid=1000"
	sandboxHome = "/home/runbook"

	agentFolder = "/opt/runbook"
	agentPath   = agentFolder + "/agent"

	homeSize  = 64 << 20
	runSize   = 1 << 20
	openFiles = 4096
	// cpuShares leaves the server and the rest of the host the larger part.
	cpuShares = 128
	// oomScoreAdj makes the kernel prefer sandboxes to the rest of the host.
	oomScoreAdj = 500
)

// specInputs are found out when the engine is prepared.
type specInputs struct {
	agentVolume string
	network     string
}

// containerSpec is all that decides how a session's container is confined. The
// values and their reasons are in docs/ARCHITECTURE.md, "The container".
func containerSpec(settings Settings, inputs specInputs, owner Owner) (*container.Config, *container.HostConfig, *network.NetworkingConfig) {
	config := &container.Config{
		Image:           settings.Image,
		User:            sandboxUser,
		Entrypoint:      []string{agentPath, "serve"},
		WorkingDir:      "/tmp",
		Hostname:        "runbook",
		NetworkDisabled: false,
		Labels: map[string]string{
			LabelDeployment: settings.Deployment,
			LabelRole:       roleSession,
			LabelSession:    strconv.FormatInt(owner.SessionID, 10),
			LabelUser:       strconv.FormatInt(owner.UserID, 10),
			LabelRunbook:    strconv.FormatInt(owner.RunbookID, 10),
			LabelAgent:      inputs.agentVolume,
		},
	}
	host := &container.HostConfig{
		Runtime:        settings.Runtime,
		NetworkMode:    container.NetworkMode(inputs.network),
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		ReadonlyRootfs: true,
		OomScoreAdj:    oomScoreAdj,
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      container.LogConfig{Type: "none"},
		IpcMode:        container.IPCModePrivate,
		Tmpfs: map[string]string{
			"/tmp":      tmpfs(settings.TmpSize, "exec", "mode=1777"),
			sandboxHome: tmpfs(homeSize, "exec", "mode=0755"),
			// The mode must be said: otherwise the image's own folder decides.
			"/run": tmpfs(runSize, "noexec", "mode=0700"),
		},
		Mounts: []mount.Mount{{
			Type:          mount.TypeVolume,
			Source:        inputs.agentVolume,
			Target:        agentFolder,
			ReadOnly:      true,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		}},
		Resources: container.Resources{
			Memory:     settings.Memory,
			MemorySwap: settings.Memory,
			NanoCPUs:   int64(settings.CPUs * 1e9),
			CPUShares:  cpuShares,
			PidsLimit:  &settings.Pids,
			Ulimits: []*units.Ulimit{
				{Name: "nofile", Soft: openFiles, Hard: openFiles},
				{Name: "core", Soft: 0, Hard: 0},
				{Name: "fsize", Soft: settings.TmpSize, Hard: settings.TmpSize},
			},
		},
	}
	return config, host, &network.NetworkingConfig{}
}

// tmpfs says that the engine's default of noexec doesn't hold where it must not:
// go run builds in /tmp.
func tmpfs(size int64, options ...string) string {
	all := append([]string{"rw", "nosuid", "nodev", "size=" + strconv.FormatInt(size, 10), sandboxUID}, options...)
	return strings.Join(all, ",")
}
