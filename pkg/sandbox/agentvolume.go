package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"runbook/docker/agentbin"
	"runbook/pkg/apperr"
)

// ensureAgentVolume has the agent in a volume that every session's container
// mounts, so that it is part of no image. The volume is named after the
// program's content: sessions keep the agent that they were started with.
func (e *Engine) ensureAgentVolume(ctx context.Context) (string, error) {
	program, err := e.agentProgram(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(program)
	name := e.settings.Deployment + "-agent-" + hex.EncodeToString(sum[:6])
	labels := map[string]string{LabelDeployment: e.settings.Deployment, LabelRole: roleAgent}
	if _, err := e.docker.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: labels}); err != nil {
		return "", translate(err, "create volume")
	}
	// A container that is never started gives access to the volume.
	holder, err := e.docker.ContainerCreate(ctx,
		&container.Config{Image: e.settings.Image, Labels: labels, Entrypoint: []string{agentPath}},
		&container.HostConfig{Mounts: []mount.Mount{{
			Type: mount.TypeVolume, Source: name, Target: agentFolder,
			VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		}}}, nil, nil, "")
	if err != nil {
		return "", translate(err, "create container")
	}
	defer e.discard(ctx, holder.ID)
	stat, err := e.docker.ContainerStatPath(ctx, holder.ID, agentPath)
	if err == nil && stat.Size == int64(len(program)) {
		return name, nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return "", translate(err, "look into volume")
	}
	archive, err := programArchive(program)
	if err != nil {
		return "", err
	}
	if err := e.docker.CopyToContainer(ctx, holder.ID, agentFolder, archive, container.CopyToContainerOptions{}); err != nil {
		return "", translate(err, "fill volume")
	}
	return name, nil
}

// agentProgram is the agent built for the engine's processor.
func (e *Engine) agentProgram(ctx context.Context) ([]byte, error) {
	version, err := e.docker.ServerVersion(ctx)
	if err != nil {
		return nil, translate(err, "ask the engine's version")
	}
	program, err := agentbin.Program(version.Arch)
	if err != nil {
		return nil, apperr.Wrap(err, apperr.Internal,
			"The agent for %s/%s is missing from this build: run `make agent` and build again.", version.Os, version.Arch)
	}
	return program, nil
}

func programArchive(program []byte) (*bytes.Buffer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: path.Base(agentPath), Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return nil, fmt.Errorf("pack agent: %w", err)
	}
	if _, err := w.Write(program); err != nil {
		return nil, fmt.Errorf("pack agent: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack agent: %w", err)
	}
	return &archive, nil
}
