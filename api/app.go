package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/jonboulle/clockwork"

	"runbook/api/server"
	"runbook/pkg/apperr"
	"runbook/pkg/auth"
	"runbook/pkg/config"
	"runbook/pkg/execution"
	"runbook/pkg/runbook"
	"runbook/pkg/sandbox"
	"runbook/pkg/session"
	"runbook/pkg/store"
)

const (
	// expiryInterval is how often idle sessions are looked for.
	expiryInterval = time.Minute

	// What is kept of a run in memory: its beginning for who comes late, its end
	// for who comes back, in bytes.
	logHead  = 256 << 10
	logTail  = 1 << 20
	logStall = 30 * time.Second
)

// app is a running server and all that it has opened.
type app struct {
	cfg        config.Config
	log        *slog.Logger
	listener   net.Listener
	store      *store.Store
	engine     *sandbox.Engine
	executions *execution.Registry
	jobs       gocron.Scheduler
	server     *server.Server
	served     chan error
}

// start opens everything in the order in which it is needed and begins to serve.
// It may take minutes the first time. When it fails, nothing stays open.
func start(ctx context.Context, cfg config.Config, clock clockwork.Clock, log *slog.Logger, progress sandbox.Progress) (*app, error) {
	a := &app{cfg: cfg, log: log, served: make(chan error, 1)}
	if err := a.open(ctx, clock, progress); err != nil {
		a.close()
		return nil, err
	}
	a.jobs.Start()
	go func() { a.served <- a.server.Serve(a.listener) }()
	return a, nil
}

func (a *app) open(ctx context.Context, clock clockwork.Clock, progress sandbox.Progress) error {
	// The port first: that it is taken should be known before minutes of building.
	if err := a.listen(ctx); err != nil {
		return err
	}
	secret, err := a.secret()
	if err != nil {
		return err
	}
	tokens, err := auth.NewTokens([]byte(secret.Reveal()), a.cfg.AccessTokenTTL, clock)
	if err != nil {
		return err
	}
	if err := a.openEngine(ctx, progress); err != nil {
		return err
	}
	if err := a.openStore(ctx, clock, progress); err != nil {
		return err
	}
	sessions := a.wire()
	if err := a.endLeftOver(ctx); err != nil {
		return err
	}
	if err := a.schedule(ctx, clock, sessions); err != nil {
		return err
	}
	a.server = server.New(server.Services{ //nolint:contextcheck // handlers have the contexts of their requests
		Store: a.store, Engine: a.engine, Sessions: sessions, Executions: a.executions,
		Tokens: tokens, Passwords: auth.NewPasswords(0),
	}, server.Settings{
		BodyLimit: int64(a.cfg.BodyLimit), CORSOrigins: a.cfg.CORSOrigins, Limits: a.limits(), StallLimit: logStall,
	}, a.log)
	return nil
}

func (a *app) listen(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Address())
	if errors.Is(err, syscall.EADDRINUSE) {
		return apperr.Wrap(err, apperr.Unavailable, "Port %d is taken. Stop what listens there, or set PORT.", a.cfg.Port)
	}
	if err != nil {
		return apperr.Wrap(err, apperr.Unavailable, "The server can't listen at %s: check HOST and PORT.", a.cfg.Address())
	}
	a.listener = listener
	return nil
}

func (a *app) secret() (config.Secret, error) {
	if a.cfg.JWTSecret != "" {
		return a.cfg.JWTSecret, nil
	}
	return config.EnsureSecret(a.cfg.DataDir)
}

func (a *app) openEngine(ctx context.Context, progress sandbox.Progress) error {
	engine, err := sandbox.Open(ctx, sandbox.Settings{
		Deployment: a.cfg.Deployment,
		Image:      a.cfg.ContainerImage,
		Runtime:    a.cfg.ContainerRuntime,
		Memory:     int64(a.cfg.SessionMemory),
		CPUs:       a.cfg.SessionCPUs,
		Pids:       int64(a.cfg.SessionPids),
		TmpSize:    int64(a.cfg.SessionTmpSize),
		CABundle:   a.cfg.CABundle,
	}, a.log)
	if err != nil {
		return err
	}
	a.engine = engine
	return engine.Prepare(ctx, progress)
}

func (a *app) openStore(ctx context.Context, clock clockwork.Clock, progress sandbox.Progress) error {
	dsn := a.cfg.DatabaseURL
	if dsn == "" {
		provided, err := a.engine.ProvidePostgres(ctx, sandbox.PostgresOptions{}, progress)
		if err != nil {
			return err
		}
		dsn = config.DatabaseURL(provided)
	}
	opened, err := store.Open(ctx, store.Options{DSN: dsn, Logger: a.log, Clock: clock})
	if err != nil {
		return err
	}
	a.store = opened
	return opened.Migrate(ctx)
}

func (a *app) limits() runbook.Limits {
	return runbook.Limits{MaxTimeout: a.cfg.ExecutionTimeoutMax}
}

// wire joins sessions and executions, which tell each other of their ends.
func (a *app) wire() *session.Service {
	a.executions = execution.NewRegistry(a.store, a.engine, execution.Settings{
		Timeout:     a.cfg.ExecutionTimeout,
		OutputLimit: int64(a.cfg.OutputLimit),
		SessionIdle: a.cfg.SessionIdle,
		Log:         execution.LogLimits{Head: logHead, Tail: logTail, Stall: logStall},
	}, a.log)
	sessions := session.NewService(a.store, a.engine, a.executions,
		session.Settings{Idle: a.cfg.SessionIdle, Limits: a.limits()}, a.log)
	a.executions.SessionLost = sessions.Lost
	return sessions
}

// endLeftOver ends the executions that a server before this one was cut off from.
func (a *app) endLeftOver(ctx context.Context) error {
	running, err := a.store.ListRunningExecutions(ctx)
	if err != nil {
		return err
	}
	ids := make([]int64, 0, len(running))
	for _, row := range running {
		ids = append(ids, row.SessionID)
	}
	ended, err := a.store.FailRunningExecutions(ctx, string(execution.ErrorShutdown), ids...)
	if err == nil && ended > 0 {
		a.log.InfoContext(ctx, "ended executions that the server before left running", "executions", ended)
	}
	return err
}

func (a *app) schedule(ctx context.Context, clock clockwork.Clock, sessions *session.Service) error {
	jobs, err := gocron.NewScheduler(gocron.WithClock(clock))
	if err != nil {
		return fmt.Errorf("make scheduler: %w", err)
	}
	a.jobs = jobs
	_, err = jobs.NewJob(
		gocron.DurationJob(expiryInterval),
		gocron.NewTask(func(ctx context.Context) {
			if err := sessions.ExpireIdle(ctx); err != nil {
				a.log.ErrorContext(ctx, "expire idle sessions", "error", err)
			}
		}),
		gocron.WithName("expire idle sessions"),
		gocron.WithSingletonMode(gocron.LimitModeReschedule),
		gocron.WithContext(context.WithoutCancel(ctx)),
	)
	if err != nil {
		return fmt.Errorf("schedule expiry: %w", err)
	}
	return nil
}

// port is where the server listens.
func (a *app) port() int {
	if address, ok := a.listener.Addr().(*net.TCPAddr); ok {
		return address.Port
	}
	return 0
}

// wait serves until ctx ends, then shuts down: streams get their final chunk,
// requests under way their answer. Sessions and their containers live on.
func (a *app) wait(ctx context.Context) error {
	defer a.close()
	select {
	case err := <-a.served:
		return err
	case <-ctx.Done():
	}
	a.log.Info("shutting down")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.ShutdownTimeout)
	defer cancel()
	return errors.Join(a.executions.Shutdown(ctx), a.server.Shutdown(ctx), <-a.served)
}

// close closes what is open.
func (a *app) close() {
	var failures []error
	if a.jobs != nil {
		failures = append(failures, a.jobs.Shutdown())
	}
	if a.store != nil {
		failures = append(failures, a.store.Close())
	}
	if a.engine != nil {
		failures = append(failures, a.engine.Close())
	}
	if a.listener != nil {
		if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		a.log.Error("close", "error", err)
	}
}
