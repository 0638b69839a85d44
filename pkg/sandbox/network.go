package sandbox

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// ensureNetwork has a bridge of the deployment's own, on which containers don't
// see each other.
func (e *Engine) ensureNetwork(ctx context.Context) (string, error) {
	name := e.settings.Deployment + "-sessions"
	_, err := e.docker.NetworkInspect(ctx, name, network.InspectOptions{})
	if err == nil {
		return name, nil
	}
	if !errdefs.IsNotFound(err) {
		return "", translate(err, "inspect network")
	}
	_, err = e.docker.NetworkCreate(ctx, name, network.CreateOptions{
		Driver:  "bridge",
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		Labels:  map[string]string{LabelDeployment: e.settings.Deployment},
	})
	if err != nil && !errdefs.IsConflict(err) { // another server made it meanwhile
		return "", translate(err, "create network")
	}
	return name, nil
}
