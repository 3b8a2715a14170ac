package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sourceEnv names the source tree of a program that runs elsewhere.
const sourceEnv = "CLOISTER_SOURCE"

// Source is the top of the source tree around the working directory.
func Source() (string, error) {
	if dir := os.Getenv(sourceEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tests", "containerd", "programs", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find source tree: the working directory is not inside of one")
		}
	}
}

// run runs a program to its end and returns its standard output; the error has what it wrote to standard error.
func run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(args[:min(3, len(args))], " "), err, lastBytes(stderr.String()))
	}
	return stdout.String(), nil
}

// lastBytes is the end of a long text.
func lastBytes(s string) string {
	const most = 4000
	if len(s) > most {
		s = s[len(s)-most:]
	}
	return strings.TrimSpace(s)
}
