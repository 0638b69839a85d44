package sandbox_test

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"runbook/pkg/agent"
	"runbook/pkg/sandbox"
	"runbook/pkg/sandbox/sandboxtest"
)

func bash(code string) agent.RunSpec {
	return agent.RunSpec{
		ScriptName: "block-0", Extension: ".sh", Code: code, Command: []string{"bash"},
		Timeout: time.Minute, OutputLimit: 256 << 20,
	}
}

// drain reads to the end, and returns what came, where, and how it ended.
func drain(t testing.TB, output *agent.Output) (text string, end int64, exit agent.Exit) {
	t.Helper()
	defer output.Close()
	var all strings.Builder
	for {
		frame, err := output.Next()
		require.NoError(t, err)
		if frame.Kind == agent.FrameExit {
			exit, err = frame.DecodeExit()
			require.NoError(t, err)
			return all.String(), end, exit
		}
		all.Write(frame.Data)
		end = frame.End
	}
}

func TestSandbox(t *testing.T) {
	settings := sandboxtest.Settings(t)
	engine := sandboxtest.Open(t, settings)
	id, err := engine.Create(t.Context(), sandbox.Owner{SessionID: 1, UserID: 1, RunbookID: 1})
	require.NoError(t, err)
	client := engine.Agent(id)

	t.Run("a run that is followed again goes on at the byte where it was left", func(t *testing.T) {
		output, err := client.Start(t.Context(), "lost", bash("echo one; read -r _; echo two; echo three >&2"))
		require.NoError(t, err)
		frame, err := output.Next()
		require.NoError(t, err)
		assert.Equal(t, "one\n", string(frame.Data))
		require.NoError(t, output.Close())
		require.NoError(t, client.Input(t.Context(), "lost", []byte("\n"), false))
		output, err = client.Follow(t.Context(), "lost", frame.End)
		require.NoError(t, err)
		text, _, _ := drain(t, output)
		assert.Equal(t, "two\nthree\n", text)
		output, err = client.Follow(t.Context(), "lost", 0)
		require.NoError(t, err)
		text, _, _ = drain(t, output)
		assert.Equal(t, "one\ntwo\nthree\n", text, "until it is forgotten")
		require.NoError(t, client.Forget(t.Context(), "lost"))
		_, err = client.Follow(t.Context(), "lost", 0)
		require.ErrorIs(t, err, agent.ErrNoRun)
	})

	t.Run("output ends at the limit", func(t *testing.T) {
		spec := bash("yes")
		spec.OutputLimit = 1_000_001
		output, err := client.Start(t.Context(), "limit", spec)
		require.NoError(t, err)
		_, end, exit := drain(t, output)
		assert.EqualValues(t, 1_000_001, end)
		assert.Equal(t, agent.ReasonOutputLimit, exit.Reason)
	})

	t.Run("a background child does not hold its block open, and lives on", func(t *testing.T) {
		output, err := client.Start(t.Context(), "service", bash("(while sleep 0.01; do echo tick; date +%N >/tmp/alive; done) & echo up"))
		require.NoError(t, err)
		text, _, _ := drain(t, output)
		assert.Contains(t, text, "up\n")
		output, err = client.Start(t.Context(), "client", bash("a=$(cat /tmp/alive); until [ -s /tmp/alive ] && [ \"$(cat /tmp/alive)\" != \"$a\" ]; do sleep 0.01; done"))
		require.NoError(t, err)
		_, _, exit := drain(t, output)
		assert.Zero(t, exit.ExitCode)
	})

	t.Run("files stay below the work folder, whatever links say", func(t *testing.T) {
		output, err := client.Start(t.Context(), "link", bash("ln -s /home/runbook /tmp/out; ln -s /home/runbook/x /tmp/y"))
		require.NoError(t, err)
		drain(t, output)
		for _, path := range []string{"../x", "/etc/x", "out/x", "y"} {
			require.Error(t, client.WriteFiles(t.Context(), []agent.File{{Path: path, Content: "x"}}), path)
		}
		output, err = client.Start(t.Context(), "check", bash("ls -A /home/runbook"))
		require.NoError(t, err)
		text, _, _ := drain(t, output)
		assert.NotContains(t, text, "x\n")
	})

	t.Run("a script takes no user's file", func(t *testing.T) {
		require.NoError(t, client.WriteFiles(t.Context(), []agent.File{{Path: "block-0.sh", Content: "mine"}}))
		output, err := client.Start(t.Context(), "taken", bash(`echo "$0"; cat /tmp/block-0.sh`))
		require.NoError(t, err)
		text, _, _ := drain(t, output)
		assert.Equal(t, "/tmp/block-0-2.sh\nmine", text)
	})

	t.Run("an image without the interpreter is said so", func(t *testing.T) {
		spec := bash("")
		spec.Command = []string{"cobol"}
		_, err := client.Start(t.Context(), "cobol", spec)
		var remote *agent.RemoteError
		require.ErrorAs(t, err, &remote)
		assert.Equal(t, agent.CodeNoInterpreter, remote.Code)
	})

	t.Run("another deployment's containers are left alone", func(t *testing.T) {
		other := sandboxtest.Open(t, sandboxtest.Settings(t))
		require.NoError(t, other.RemoveSession(t.Context(), 1))
		running, err := engine.Running(t.Context(), id)
		require.NoError(t, err)
		assert.True(t, running)
	})

	t.Run("removing is done once, however often it is asked for", func(t *testing.T) {
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() { assert.NoError(t, engine.Remove(t.Context(), id)) })
		}
		group.Wait()
		assert.Empty(t, sandboxtest.Containers(t, settings.Deployment))
		_, err := engine.Agent(id).Health(t.Context())
		assert.ErrorIs(t, err, sandbox.ErrGone)
	})
}

func BenchmarkBashThroughTheAgent(b *testing.B) {
	engine := sandboxtest.Open(b, sandboxtest.Settings(b))
	id, err := engine.Create(b.Context(), sandbox.Owner{})
	require.NoError(b, err)
	n := 0
	for b.Loop() {
		n++
		output, err := engine.Agent(id).Start(b.Context(), strconv.Itoa(n), bash("echo hello\n"))
		require.NoError(b, err)
		drain(b, output)
		require.NoError(b, engine.Agent(id).Forget(b.Context(), strconv.Itoa(n)))
	}
}

// BenchmarkBashByArchiveAndExec is the obvious way, to compare with.
func BenchmarkBashByArchiveAndExec(b *testing.B) {
	docker := sandboxtest.Docker(b)
	created, err := docker.ContainerCreate(b.Context(), &container.Config{
		Image: sandbox.RuntimeImage, Cmd: []string{"sleep", "infinity"},
		Labels: map[string]string{sandbox.LabelDeployment: sandboxtest.Deployment(b), sandbox.LabelRole: "session"},
	}, &container.HostConfig{Resources: container.Resources{NanoCPUs: 1e9}}, nil, nil, "")
	require.NoError(b, err)
	require.NoError(b, docker.ContainerStart(b.Context(), created.ID, container.StartOptions{}))
	for b.Loop() {
		archive := sandboxtest.Archive(b, "block.sh", "echo hello\n")
		require.NoError(b, docker.CopyToContainer(b.Context(), created.ID, "/home/runbook", archive, container.CopyToContainerOptions{}))
		exec, err := docker.ContainerExecCreate(b.Context(), created.ID, container.ExecOptions{
			Cmd: []string{"bash", "/home/runbook/block.sh"}, AttachStdout: true, AttachStderr: true,
		})
		require.NoError(b, err)
		attached, err := docker.ContainerExecAttach(b.Context(), exec.ID, container.ExecAttachOptions{})
		require.NoError(b, err)
		var text strings.Builder
		_, err = stdcopy.StdCopy(&text, io.Discard, attached.Reader)
		require.NoError(b, err)
		attached.Close()
		require.Equal(b, "hello\n", text.String(), fmt.Sprint(exec.ID))
	}
}
