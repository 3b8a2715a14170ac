package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cloister-cc/cloister/guest"
)

// reportProgram builds demo/report as a static program without a trace of where it was built, or reads a prebuilt one.
func reportProgram(ctx context.Context, prebuilt string) ([]byte, error) {
	if prebuilt != "" {
		return os.ReadFile(prebuilt)
	}
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	source := guest.FindSource(wd)
	if source == "" {
		return nil, errors.New("not inside a Cloister source tree: give the report program with --report")
	}
	tmp, err := os.MkdirTemp("", "cloister-report-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "report")
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, "./demo/report")
	cmd.Dir, cmd.Stderr = source, &stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOEXPERIMENT=")
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build the report program: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return os.ReadFile(out)
}
