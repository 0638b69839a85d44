// Package sandbox runs containers: one per session, each with the agent as its
// first process. It is the only importer of the Docker client, and it provides
// what the server needs of the engine: images, the network, the agent's volume
// and a Postgres for who has none.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"runbook/pkg/agent"
	"runbook/pkg/apperr"
)

// ErrGone says that a session's container does not run: it was removed, was
// killed, or died. It never comes back.
var ErrGone = errors.New("the container is gone")

// Engine makes and removes the containers of one deployment. It is safe for
// concurrent use.
type Engine struct {
	docker   *client.Client
	settings Settings
	log      *slog.Logger
	spec     specInputs

	mu      sync.Mutex
	clients map[string]*agent.Client // by container id
}

// Open connects to the engine that the environment names (DOCKER_HOST and its
// kin), or to the local one. The error says that it can't be reached.
func Open(ctx context.Context, settings Settings, log *slog.Logger) (*Engine, error) {
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, apperr.Wrap(err, apperr.Unavailable, "The Docker engine's address is not valid: check DOCKER_HOST.")
	}
	e := &Engine{docker: docker, settings: settings, log: log, clients: make(map[string]*agent.Client)}
	if err := e.Ping(ctx); err != nil {
		_ = docker.Close()
		return nil, err
	}
	return e, nil
}

// Close drops the connections. Containers go on.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.clients {
		c.Close()
	}
	return e.docker.Close()
}

// pingPatience bounds the wait for an engine that accepts and doesn't answer.
const pingPatience = 5 * time.Second

// Ping tells whether the engine answers.
func (e *Engine) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	if _, err := e.docker.Ping(ctx); err != nil {
		return apperr.Wrap(err, apperr.Unavailable,
			"The Docker engine is out of reach at %s. Start it, or set DOCKER_HOST.", e.docker.DaemonHost())
	}
	return nil
}

// Create makes and starts a container, and returns its id once its agent
// answers. A container that fails on the way is removed.
func (e *Engine) Create(ctx context.Context, owner Owner) (string, error) {
	config, host, network := containerSpec(e.settings, e.spec, owner)
	created, err := e.docker.ContainerCreate(ctx, config, host, network, nil, "")
	if err != nil {
		return "", translate(err, "create container")
	}
	if err := e.start(ctx, created.ID); err != nil {
		e.discard(ctx, created.ID)
		return "", err
	}
	return created.ID, nil
}

func (e *Engine) start(ctx context.Context, id string) error {
	if err := e.docker.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return translate(err, "start container")
	}
	health, err := e.Agent(id).Health(ctx)
	if err != nil {
		return fmt.Errorf("reach the agent of a new container: %w", err)
	}
	if health.Version != agent.Version {
		return fmt.Errorf("agent has version %s instead of %s", health.Version, agent.Version)
	}
	return nil
}

// discardPatience bounds a clean-up after its request was given up.
const discardPatience = 30 * time.Second

func (e *Engine) discard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardPatience)
	defer cancel()
	if err := e.Remove(ctx, id); err != nil {
		e.log.ErrorContext(ctx, "remove container that failed to start", "container", id, "error", err)
	}
}

// Remove kills and removes a container. One that is already gone counts as
// removed.
func (e *Engine) Remove(ctx context.Context, id string) error {
	e.mu.Lock()
	if c, ok := e.clients[id]; ok {
		delete(e.clients, id)
		defer c.Close()
	}
	e.mu.Unlock()
	err := e.docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if errdefs.IsConflict(err) { // somebody else is removing it
		return e.awaitRemoval(ctx, id)
	}
	return translate(err, "remove container")
}

func (e *Engine) awaitRemoval(ctx context.Context, id string) error {
	removed, failed := e.docker.ContainerWait(ctx, id, container.WaitConditionRemoved)
	select {
	case <-removed:
		return nil
	case err := <-failed:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return translate(err, "await removal of container")
	}
}

// Running tells whether a container runs.
func (e *Engine) Running(ctx context.Context, id string) (bool, error) {
	inspected, err := e.docker.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, translate(err, "inspect container")
	}
	return inspected.State.Running, nil
}

// Agent is the way to the agent of a container. It dials at its first use; its
// calls fail with ErrGone when the container is gone.
func (e *Engine) Agent(id string) *agent.Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.clients[id]
	if !ok {
		c = agent.NewClient(e.dialer(id))
		e.clients[id] = c
	}
	return c
}

// translate gives an engine's error the code that the API answers it with.
func translate(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case client.IsErrConnectionFailed(err), errdefs.IsUnavailable(err):
		return apperr.Wrap(err, apperr.Unavailable, "The container engine is out of reach. Try again in a moment.")
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// RemoveSession removes the containers of a session, found by their label.
func (e *Engine) RemoveSession(ctx context.Context, sessionID int64) error {
	return e.removeLabelled(ctx, LabelSession, sessionID)
}

// RemoveRunbook removes the containers of all sessions of a runbook.
func (e *Engine) RemoveRunbook(ctx context.Context, runbookID int64) error {
	return e.removeLabelled(ctx, LabelRunbook, runbookID)
}

func (e *Engine) removeLabelled(ctx context.Context, label string, id int64) error {
	found, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", LabelDeployment+"="+e.settings.Deployment),
		filters.Arg("label", label+"="+strconv.FormatInt(id, 10)),
	)})
	if err != nil {
		return translate(err, "list containers")
	}
	for _, c := range found {
		if err := e.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	return nil
}
