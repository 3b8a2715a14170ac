package main

import (
	"context"
	"fmt"
	"os"
)

// measureSNP measures verification, evidence in this process over a device that costs nothing, and evidence in a guest against the bare device.
func measureSNP(ctx context.Context, b *bench) error {
	j, err := newJudged()
	if err != nil {
		return err
	}
	if err := b.measureVerify(j); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if err := b.measureEvidence(ctx, j); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	return b.measureGuestEvidence(ctx)
}

// socketDir is a directory with a short name: a Unix socket's holds 107 bytes.
func (b *bench) socketDir() (string, error) { return os.MkdirTemp(b.scratch, "s") }
