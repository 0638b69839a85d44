package sandbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/go-connections/nat"

	"runbook/docker"
	"runbook/pkg/apperr"
)

const (
	postgresPort = "5432/tcp"
	postgresUser = "runbook"
	postgresData = "/var/lib/postgresql/data"
	loopback     = "127.0.0.1"
)

// PostgresOptions are how a provided Postgres is kept.
type PostgresOptions struct {
	// Ephemeral lets the data go with the container and doesn't wait for disks:
	// for tests.
	Ephemeral bool
}

// ProvidePostgres has a Postgres container run for the deployment, on a port of
// the loopback interface, and returns its URL. The data is in a named volume and
// outlives the container. The server in it may still be starting.
func (e *Engine) ProvidePostgres(ctx context.Context, options PostgresOptions, progress Progress) (string, error) {
	if err := e.ensureBuilt(ctx, postgresImage, docker.Postgres, progress); err != nil {
		return "", err
	}
	name := e.settings.Deployment + "-postgres"
	inspected, err := e.docker.ContainerInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		progress("starting Postgres in container %s", name)
		err = e.createPostgres(ctx, name, options)
		if err == nil {
			inspected, err = e.docker.ContainerInspect(ctx, name)
		}
	}
	if err != nil {
		return "", translate(err, "provide Postgres")
	}
	if !inspected.State.Running {
		if err := e.docker.ContainerStart(ctx, inspected.ID, container.StartOptions{}); err != nil {
			return "", apperr.Wrap(err, apperr.Unavailable,
				"The Postgres container %s does not start: look at `docker logs %s`, or set DATABASE_URL.", name, name)
		}
	}
	return postgresURL(inspected)
}

func (e *Engine) createPostgres(ctx context.Context, name string, options PostgresOptions) error {
	password, err := e.postgresVolume(ctx, name)
	if err != nil {
		return err
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	config := &container.Config{
		Image: postgresImage,
		Env: []string{
			"POSTGRES_USER=" + postgresUser,
			"POSTGRES_DB=" + postgresUser,
			"POSTGRES_PASSWORD=" + password,
		},
		ExposedPorts: nat.PortSet{postgresPort: {}},
		Labels: map[string]string{
			LabelDeployment: e.settings.Deployment,
			LabelRole:       rolePostgres,
			labelPassword:   password,
		},
	}
	host := &container.HostConfig{
		// A port of its own choice would change with every start of the engine.
		PortBindings:  nat.PortMap{postgresPort: {{HostIP: loopback, HostPort: strconv.Itoa(port)}}},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		Mounts:        []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: postgresData}},
		ShmSize:       256 << 20,
	}
	if options.Ephemeral {
		config.Cmd = []string{"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_connections=400"}
		host.Mounts = nil
		host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	}
	_, err = e.docker.ContainerCreate(ctx, config, host, nil, nil, name)
	if errdefs.IsConflict(err) { // another process made it meanwhile
		return nil
	}
	return err
}

// postgresVolume has the volume, and returns the password that the data in it
// was made with. It is kept with the volume: whoever may read it there rules
// the engine anyway.
func (e *Engine) postgresVolume(ctx context.Context, name string) (string, error) {
	existing, err := e.docker.VolumeInspect(ctx, name)
	if err == nil {
		return existing.Labels[labelPassword], nil
	}
	if !errdefs.IsNotFound(err) {
		return "", err
	}
	password := rand.Text()
	_, err = e.docker.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: map[string]string{
		LabelDeployment: e.settings.Deployment,
		LabelRole:       rolePostgres,
		labelPassword:   password,
	}})
	return password, err
}

// postgresURL reads the address off the container: from its settings, as it may
// not run yet.
func postgresURL(inspected container.InspectResponse) (string, error) {
	bindings := inspected.HostConfig.PortBindings[postgresPort]
	if len(bindings) != 1 {
		return "", fmt.Errorf("the Postgres container publishes %d ports instead of one", len(bindings))
	}
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(postgresUser, inspected.Config.Labels[labelPassword]),
		Host:     net.JoinHostPort(loopback, bindings[0].HostPort),
		Path:     postgresUser,
		RawQuery: "sslmode=disable",
	}
	return address.String(), nil
}

func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: got a %T", listener.Addr())
	}
	return address.Port, nil
}
