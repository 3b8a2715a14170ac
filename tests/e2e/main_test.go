package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

const (
	// guestEnv names a guest image to use instead of building one.
	guestEnv = "CLOISTER_E2E_GUEST"
	// requireEnv makes a missing program a failure instead of a skip: set where the suite must run.
	requireEnv = "CLOISTER_E2E_REQUIRE"
	// caseTimeout bounds one case; machines without KVM are slow, and may be busy, but nothing here takes a minute of its own.
	caseTimeout = 6 * time.Minute
)

// scratch is the suite's own directory; it is short, because it is part of many paths.
var scratch string

func TestMain(m *testing.M) {
	if role := os.Getenv(helperEnv); role != "" {
		os.Exit(helper(role))
	}
	var err error
	if scratch, err = os.MkdirTemp("", "cle2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared VM:", err)
		code = max(code, 1)
	}
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// need skips a case that cannot run here and says what would let it run.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a VM: run without -short")
	}
	if _, err := exec.LookPath(qemu.Program); err != nil {
		missing(t, "%s is not installed: apt-get install qemu-system-x86", qemu.Program)
	}
	// Before the case's time begins: on a busy machine the build alone takes minutes.
	if _, err := guestImage(); err != nil {
		t.Fatal(err)
	}
}

// alone begins a case that boots a VM of its own: it runs beside others of that kind, after the cases that share a VM. A boot under emulation keeps one
// core busy, not two.
func alone(t *testing.T) {
	t.Helper()
	need(t)
	t.Parallel()
}

// missing skips, unless this machine is one where the suite must run.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv(requireEnv) != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// guestImage is the development image, built once a run from the source tree around the tests.
var guestImage = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(guestEnv); dir != "" {
		return filepath.Abs(dir)
	}
	return buildGuest(true)
})

// productionImage is the image without the software processor.
var productionImage = sync.OnceValues(func() (string, error) { return buildGuest(false) })

func buildGuest(dev bool) (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	source := guest.FindSource(wd)
	if source == "" {
		return "", errors.New("build guest image: the tests are not inside the source tree")
	}
	name := "guest"
	if dev {
		name = "guest-dev"
	}
	dir := filepath.Join(scratch, name)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	_, err = guest.Build(ctx, guest.Options{Dev: dev, Out: dir, Source: source})
	return dir, err
}

// workloadProgram is the test containers' only program, statically linked.
var workloadProgram = sync.OnceValues(func() ([]byte, error) {
	path := filepath.Join(scratch, "workload")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "./workload")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build workload: %w: %s", err, out)
	}
	return os.ReadFile(path)
})
