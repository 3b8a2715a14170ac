package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cloister-cc/cloister/tests/cases"
)

// resident measures processes that have one enforcer in them and nothing else: each is a program of its own.
type resident struct {
	dir      string
	programs map[string]string
}

func newResident(ctx context.Context) (*resident, error) {
	dir, err := os.MkdirTemp("", "bench-enforcer-")
	if err != nil {
		return nil, err
	}
	r := &resident{dir: dir, programs: map[string]string{}}
	for who, name := range map[string]string{"ours": "resident-ours", "reference": "resident-reference"} {
		out := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-tags", "rego", "-trimpath", "-ldflags", "-s -w", "-o", out,
			"github.com/cloister-cc/cloister/tests/reference/cmd/"+name)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			r.close()
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		r.programs[who] = out
	}
	return r, nil
}

func (r *resident) close() { os.RemoveAll(r.dir) }

// megabytes loads a policy of n containers in a new process, a few times: what it holds then, and when it gave back what it
// does not need.
func (r *resident) megabytes(ctx context.Context, who string, n, times int) (loaded, idle sample, err error) {
	policy, _ := cases.Sized(n, false)
	file := filepath.Join(r.dir, "policy.rego")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return nil, nil, err
	}
	for range times {
		out, err := exec.CommandContext(ctx, r.programs[who], file).Output()
		if err != nil {
			return nil, nil, fmt.Errorf("%s with %d containers: %w", who, n, err)
		}
		var kib [2]float64
		if _, err := fmt.Sscan(string(out), &kib[0], &kib[1]); err != nil {
			return nil, nil, err
		}
		loaded, idle = append(loaded, kib[0]*1024/1e6), append(idle, kib[1]*1024/1e6)
	}
	return loaded, idle, nil
}
