// Package agentbin carries the agent's program, built by `make agent` for every
// processor that the engine may run on, into the server.
package agentbin

import (
	"embed"
	"fmt"
)

//go:embed all:linux
var programs embed.FS

// Program is the agent for Linux on the given processor, named as Go does.
func Program(arch string) ([]byte, error) {
	program, err := programs.ReadFile("linux/" + arch)
	if err != nil {
		return nil, fmt.Errorf("no agent for %s: %w", arch, err)
	}
	return program, nil
}
