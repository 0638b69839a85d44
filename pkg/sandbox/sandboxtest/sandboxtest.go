// Package sandboxtest gives each test a deployment of its own on the real
// engine, and cleans up after it.
package sandboxtest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"runbook/pkg/sandbox"
)

// Prefix starts the name of every deployment of a test.
const Prefix = "runbook-test-"

// Deployment is a name that no other test has. All that is made under it is
// removed when the test ends.
func Deployment(t testing.TB) string {
	t.Helper()
	name := Prefix + strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() {
		if err := Purge(context.WithoutCancel(t.Context()), name); err != nil {
			t.Errorf("clean up deployment %s: %v", name, err)
		}
	})
	return name
}

// Settings are those of a default deployment under a new name.
func Settings(t testing.TB) sandbox.Settings {
	t.Helper()
	return sandbox.Settings{
		Deployment: Deployment(t),
		Image:      sandbox.RuntimeImage,
		Memory:     512 << 20,
		CPUs:       1,
		Pids:       100,
		TmpSize:    256 << 20,
	}
}

// Open is an engine that is ready for containers. Without an engine the test
// fails: nothing here is worth testing without one.
func Open(t testing.TB, settings sandbox.Settings) *sandbox.Engine {
	t.Helper()
	engine, err := sandbox.Open(t.Context(), settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("no engine for tests; run `make test`: %v", err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	if err := engine.Prepare(t.Context(), t.Logf); err != nil {
		t.Fatalf("prepare engine: %v", err)
	}
	return engine
}

// Docker is the engine as Docker's own client sees it: to look behind the
// sandbox's back, and to do things behind it.
func Docker(t testing.TB) *client.Client {
	t.Helper()
	docker, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close() })
	return docker
}

func connect() (*client.Client, error) {
	return client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
}

// Containers are the ids of all containers of a deployment's sessions.
func Containers(t testing.TB, deployment string) []string {
	t.Helper()
	found, err := Docker(t).ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", sandbox.LabelDeployment+"="+deployment),
		filters.Arg("label", sandbox.LabelRole+"=session"),
	)})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 0, len(found))
	for _, c := range found {
		ids = append(ids, c.ID)
	}
	return ids
}

// RemoveContainers removes them behind the sandbox's back.
func RemoveContainers(t testing.TB, deployment string) {
	t.Helper()
	docker := Docker(t)
	for _, id := range Containers(t, deployment) {
		if err := docker.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// Purge removes all that deployments whose name starts with prefix have made,
// but for images.
func Purge(ctx context.Context, prefix string) error {
	docker, err := connect()
	if err != nil {
		return err
	}
	defer docker.Close()
	labelled := filters.NewArgs(filters.Arg("label", sandbox.LabelDeployment))
	ours := func(labels map[string]string) bool {
		return strings.HasPrefix(labels[sandbox.LabelDeployment], prefix)
	}
	var failures []error
	containers, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled})
	failures = append(failures, err)
	for _, c := range containers {
		if ours(c.Labels) {
			err := docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
			failures = append(failures, err)
		}
	}
	volumes, err := docker.VolumeList(ctx, volume.ListOptions{Filters: labelled})
	failures = append(failures, err)
	for _, v := range volumes.Volumes {
		if ours(v.Labels) {
			failures = append(failures, docker.VolumeRemove(ctx, v.Name, true))
		}
	}
	networks, err := docker.NetworkList(ctx, network.ListOptions{Filters: labelled})
	failures = append(failures, err)
	for _, n := range networks {
		if ours(n.Labels) {
			failures = append(failures, docker.NetworkRemove(ctx, n.ID))
		}
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("purge %s*: %w", prefix, err)
	}
	return nil
}

// Archive is a tar of one file.
func Archive(t testing.TB, name, content string) *bytes.Buffer {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &archive
}
