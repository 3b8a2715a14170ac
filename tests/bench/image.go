package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cloister-cc/cloister/guest"
)

const (
	agentPackage = "./agent/cmd/cloister-agent"
	guestPackage = "./tests/bench/guest"
	helloPackage = "./tests/bench/hello"
)

// source is the root of the tree around the working directory.
func source() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	dir := guest.FindSource(wd)
	if dir == "" {
		return "", errors.New("run in a checkout of Cloister")
	}
	return dir, nil
}

// program builds one of our programs as the guest image has them: static and stripped.
func (b *bench) program(ctx context.Context, pkg string) (string, error) {
	if path := b.programs[pkg]; path != "" {
		return path, nil
	}
	root, err := source()
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.scratch, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", path, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	b.programs[pkg] = path
	return path, nil
}

// image builds a guest image: production, or development with the given package in the agent's place.
func (b *bench) image(ctx context.Context, dev bool, agent string) (string, error) {
	path, err := b.program(ctx, agent)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("image-%s-%v", filepath.Base(agent), dev)
	if dir := b.images[name]; dir != "" {
		return dir, nil
	}
	root, err := source()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.scratch, name)
	if _, err := guest.Build(ctx, guest.Options{Dev: dev, Out: dir, Source: root, Agent: path}); err != nil {
		return "", err
	}
	b.images[name] = dir
	return dir, nil
}
