package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// crunDouble reads the bundle as crun does: once to the end, and once more for the copy it keeps. Its directory tells it to be late.
const crunDouble = `#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
  --bundle) bundle=$2; shift ;;
  --pid-file) pid=$2; shift ;;
  esac
  shift
done
cd "$bundle" || exit 3
if [ -e late ]; then read -r _ <late; fi
first=$(cat config.json) || exit 4
[ -n "$first" ] || exit 1
printf %s "$first" >seen.first
cat config.json >seen.second
echo $$ >"$pid"
`

type goneReaper struct{ Reaper }

func (goneReaper) Adopt(int) (Exit, error) { return nil, errors.New("not adopted in this test") }

func doubleRuntime(t *testing.T) (*Runtime, string) {
	t.Helper()
	dir := t.TempDir()
	crun := filepath.Join(dir, "crun")
	if err := os.WriteFile(crun, []byte(crunDouble), 0o755); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, "bundle")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	return &Runtime{crun: crun, dir: dir, reaper: goneReaper{}, begun: map[string]*begun{}}, bundle
}

func specOf(size int) *specs.Spec {
	return &specs.Spec{Hostname: strings.Repeat("h", size), Process: &specs.Process{Args: []string{"true"}}}
}

// given fails the test unless the double saw the specification both times it looked.
func given(t *testing.T, bundle string, spec *specs.Spec) {
	t.Helper()
	want, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"seen.first", "seen.second"} {
		got, err := os.ReadFile(filepath.Join(bundle, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: got %d bytes, %v, want the %d bytes of the specification", name, len(got), err, len(want))
		}
	}
}

func TestBegunRuntimeGetsItsSpecificationBothTimes(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, size := range []int{10, 5000, 300 << 10} { // less than a page, less than a pipe, more than a pipe
		r, bundle := doubleRuntime(t)
		abandon := r.Begin("key", bundle)
		spec := specOf(size)
		io, err := r.create(t.Context(), "key", bundle, spec, true)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		given(t, bundle, spec)
		io.abort()
		abandon() // takes nothing back
		if _, err := os.Stat(filepath.Join(bundle, "seen.first")); err != nil {
			t.Fatal(err)
		}
	}
}

// A crun that is slow to come to the bundle is waited for.
func TestBegunRuntimeThatIsLate(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, bundle := doubleRuntime(t)
	late := filepath.Join(bundle, "late")
	if err := unix.Mkfifo(late, 0o600); err != nil {
		t.Fatal(err)
	}
	defer r.Begin("key", bundle)()
	b, spec := r.headStart("key", true, false), specOf(300<<10)
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	handed := make(chan error, 1)
	go func() { handed <- b.give(text) }()
	if info, err := os.Lstat(filepath.Join(bundle, configName)); err != nil || info.Mode().IsRegular() {
		t.Fatalf("got %v, %v, want the FIFO as long as nobody has it open", info, err)
	}
	if err := os.WriteFile(late, []byte("go\n"), 0); err != nil { // waits until the double reads it
		t.Fatal(err)
	}
	if err := <-handed; err != nil {
		t.Fatal(err)
	}
	<-b.done
	if b.err != nil {
		t.Fatal(b.err)
	}
	given(t, bundle, spec)
	b.io.abort()
}

func TestAbandonedHeadStartLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, bundle := doubleRuntime(t)
	abandon := r.Begin("key", bundle)
	b := r.begun["key"]
	abandon()
	if !b.ended() || b.err == nil {
		t.Fatalf("got ended %v with %v, want that the runtime ended and made nothing", b.ended(), b.err)
	}
	entries, err := os.ReadDir(bundle)
	if err != nil || len(entries) != 0 {
		t.Fatalf("got %v, %v, want an empty bundle", entries, err)
	}
	if len(r.begun) != 0 {
		t.Fatalf("got %d head starts, want none", len(r.begun))
	}
	abandon() // once more does nothing
}

// Begin bets on pipes: a process that gets no streams, or a terminal, is created by a runtime of its own.
func TestHeadStartIsNotTakenForOtherStreams(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, one := range map[string]struct{ allowed, terminal bool }{
		"no stdio": {false, false}, "terminal": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, bundle := doubleRuntime(t)
			defer r.Begin("key", bundle)()
			b := r.begun["key"]
			if got := r.headStart("key", one.allowed, one.terminal); got != nil {
				t.Fatal("got the head start, want none")
			}
			if !b.ended() {
				t.Fatal("the runtime still waits")
			}
		})
	}
}

func TestCreateWithoutHeadStart(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, bundle := doubleRuntime(t)
	if err := os.Mkdir(filepath.Join(bundle, configName), 0o700); err != nil { // no FIFO can be made there
		t.Fatal(err)
	}
	r.Begin("key", bundle)()
	if err := os.Remove(filepath.Join(bundle, configName)); err != nil {
		t.Fatal(err)
	}
	spec := specOf(10)
	io, err := r.create(t.Context(), "key", bundle, spec, true)
	if err != nil {
		t.Fatal(err)
	}
	given(t, bundle, spec)
	io.abort()
}

// A head start that ended by itself is not given anything.
func TestHeadStartThatDied(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, bundle := doubleRuntime(t)
	r.crun = "/bin/false"
	defer r.Begin("key", bundle)()
	b := r.begun["key"]
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case <-b.done:
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	if got := r.headStart("key", true, false); got != nil {
		t.Fatal("got a runtime that is gone")
	}
}

// A head start that dies between the look at it and the specification fails the create, and nothing waits for ever.
func TestHeadStartThatDiesBeforeItReads(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, bundle := doubleRuntime(t)
	r.crun = "/bin/false"
	defer r.Begin("key", bundle)()
	b := r.begun["key"]
	if err := b.create(specOf(10)); !errors.Is(err, ErrNotStarted) {
		t.Fatalf("got %v, want that nothing was started", err)
	}
}

// A specification that cannot be written down ends the head start at once, and leaves nothing of itself.
func TestHeadStartWhoseSpecificationCannotBeWritten(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, bundle := doubleRuntime(t)
	defer r.Begin("key", bundle)()
	blocked := filepath.Join(bundle, configName+".new")
	if err := os.Mkdir(blocked, 0o700); err != nil { // stands for a full disk
		t.Fatal(err)
	}
	io, err := r.create(t.Context(), "key", bundle, specOf(10), true)
	if !errors.Is(err, ErrNotStarted) {
		t.Fatalf("got %v, want that nothing was started", err)
	}
	io.abort()
	for _, name := range []string{blocked, filepath.Join(bundle, "seen.first")} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want that it is not there", name, err)
		}
	}
}
