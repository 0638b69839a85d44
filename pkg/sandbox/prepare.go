package sandbox

import (
	"context"
	"fmt"
)

// Progress is told, in a sentence each, of steps that take long.
type Progress func(format string, args ...any)

// Prepare makes sure that the engine has what sessions need: the image, the
// agent's volume and the network. It must be called before Create. It takes
// minutes the first time, where the image must be built, and well under a second
// afterwards.
func (e *Engine) Prepare(ctx context.Context, progress Progress) error {
	if err := e.ensureRuntimeImage(ctx, progress); err != nil {
		return err
	}
	volume, err := e.ensureAgentVolume(ctx)
	if err != nil {
		return fmt.Errorf("put the agent into its volume: %w", err)
	}
	name, err := e.ensureNetwork(ctx)
	if err != nil {
		return err
	}
	e.spec = specInputs{agentVolume: volume, network: name}
	return nil
}
