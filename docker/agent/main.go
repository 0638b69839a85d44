// Command agent runs inside every session's container; see package agent.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"runbook/pkg/agent"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := dispatch(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		return 1
	}
	return 0
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: agent serve | dial | supervise")
	}
	switch args[0] {
	case "serve":
		return agent.Serve(ctx)
	case "dial":
		return agent.Dial(ctx)
	case "supervise":
		return agent.Supervise()
	}
	return fmt.Errorf("unknown command %q", args[0])
}
