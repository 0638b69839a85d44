// Command api is the Runbook server. It reads its settings from the environment
// and provides for itself what is not set: a database, images, a signing key.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/jonboulle/clockwork"

	"runbook/pkg/apperr"
	"runbook/pkg/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, config.FromEnvironment(), os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends and returns the exit code: 0 after an orderly end,
// 1 when the server could not start or could not end in order, 2 for settings
// that are not valid. What went wrong is one sentence on out.
func run(ctx context.Context, environ map[string]string, out io.Writer) int {
	cfg, err := config.Load(environ)
	if err != nil {
		say(out, "the settings are not valid:\n%v", err)
		return 2
	}
	log := newLogger(cfg, out)
	a, err := start(ctx, cfg, clockwork.NewRealClock(), log, func(format string, args ...any) { say(out, format, args...) })
	if err != nil {
		if errors.Is(err, context.Canceled) {
			say(out, "stopped before it was ready")
			return 1
		}
		log.DebugContext(ctx, "start", "error", err)
		say(out, "%s", sentence(err))
		return 1
	}
	say(out, "ready at http://localhost:%d", a.port())
	if err := a.wait(ctx); err != nil {
		say(out, "%v", err)
		return 1
	}
	return 0
}

// sentence is what an operator needs to hear: the message for people, and what
// lies behind it, which clients never see.
func sentence(err error) string {
	if e, ok := errors.AsType[*apperr.Error](err); ok && e.Err != nil {
		return fmt.Sprintf("%s (%v)", e.Message, e.Err)
	}
	return err.Error()
}

func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, "runbook: "+format+"\n", args...)
}

func newLogger(cfg config.Config, out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
