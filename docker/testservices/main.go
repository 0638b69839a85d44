// Command testservices provides what the tests need of the engine: the images,
// and a Postgres that keeps nothing. `up` prints the variables to run the tests
// with; `down` removes that Postgres and all that tests have left.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"runbook/pkg/config"
	"runbook/pkg/sandbox"
	"runbook/pkg/sandbox/sandboxtest"
	"runbook/pkg/store"
)

// services is the deployment of what all tests share.
const services = sandboxtest.Prefix + "services"

// startPatience bounds the start of Postgres.
const startPatience = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testservices:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "up":
		return up(ctx, out)
	case len(args) == 1 && args[0] == "down":
		return sandboxtest.Purge(ctx, sandboxtest.Prefix)
	}
	return fmt.Errorf("usage: testservices up | down")
}

func up(ctx context.Context, out io.Writer) error {
	engine, err := sandbox.Open(ctx, sandbox.Settings{Deployment: services, Image: sandbox.RuntimeImage}, slog.Default())
	if err != nil {
		return err
	}
	defer engine.Close()
	progress := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "runbook: "+format+"\n", args...) }
	if err := engine.Prepare(ctx, progress); err != nil {
		return err
	}
	database, err := engine.ProvidePostgres(ctx, sandbox.PostgresOptions{Ephemeral: true}, progress)
	if err != nil {
		return err
	}
	// The server in the container may still be starting.
	ready, err := store.Open(ctx, store.Options{DSN: config.DatabaseURL(database), ConnectTimeout: startPatience})
	if err != nil {
		return err
	}
	defer ready.Close()
	_, err = fmt.Fprintf(out, "export TEST_DATABASE_URL='%s'\n", database)
	return err
}
