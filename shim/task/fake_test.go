package task

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/shim/spec"
)

// program is what a fake process does. It ends early when its context does.
type program func(ctx context.Context, p *fakeProcess) uint32

// fakePod runs programs in place of a machine.
type fakePod struct {
	programs map[string]program
	notes    []spec.Note
	createIn func(ctx context.Context) error // runs in Create
	refuse   func(what string) error         // the answer to "signal" and "remove"

	life context.Context
	die  context.CancelCauseFunc
	oom  chan string
	work sync.WaitGroup

	mu        sync.Mutex
	processes map[sandbox.Process]*fakeProcess
	calls     []string
}

type fakeProcess struct {
	program string
	in      *io.PipeReader
	inW     *io.PipeWriter
	out     *io.PipeReader
	outW    *io.PipeWriter
	err     *io.PipeReader
	errW    *io.PipeWriter
	signals chan uint32
	done    chan struct{}
	exit    sandbox.Exit
}

func newFakePod(programs map[string]program) *fakePod {
	f := &fakePod{programs: programs, oom: make(chan string, 4), processes: map[sandbox.Process]*fakeProcess{}}
	f.life, f.die = context.WithCancelCause(context.Background())
	return f
}

func (f *fakePod) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fakePod) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakePod) add(name sandbox.Process, program string) {
	p := &fakeProcess{program: program, signals: make(chan uint32, 16), done: make(chan struct{})}
	p.in, p.inW = io.Pipe()
	p.out, p.outW = io.Pipe()
	p.err, p.errW = io.Pipe()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes[name] = p
}

func (f *fakePod) find(name sandbox.Process) (*fakeProcess, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.processes[name]
	if p == nil {
		return nil, errdefs.ErrNotFound
	}
	return p, nil
}

func (f *fakePod) Create(ctx context.Context, c sandbox.Container) ([]spec.Note, error) {
	f.note("create " + c.ID)
	if f.createIn != nil {
		if err := f.createIn(ctx); err != nil {
			return nil, err
		}
	}
	f.add(sandbox.Process{Container: c.ID}, c.Spec.Process.Args[0])
	return f.notes, nil
}

func (f *fakePod) run(p *fakeProcess) {
	f.work.Go(func() {
		status := f.programs[p.program](f.life, p)
		p.exit = sandbox.Exit{Status: status, At: time.Now()}
		if f.life.Err() != nil {
			p.exit = sandbox.Exit{Status: 255, At: time.Now(), Err: context.Cause(f.life)}
		}
		close(p.done)
		p.outW.Close()
		p.errW.Close()
		p.in.CloseWithError(io.ErrClosedPipe)
	})
}

func (f *fakePod) Start(_ context.Context, id string) error {
	f.note("start " + id)
	p, err := f.find(sandbox.Process{Container: id})
	if err == nil {
		f.run(p)
	}
	return err
}

func (f *fakePod) Exec(_ context.Context, name sandbox.Process, s *specs.Process, _ bool) error {
	f.note("exec " + name.Exec)
	if f.programs[s.Args[0]] == nil {
		return errdefs.ErrPermissionDenied
	}
	f.add(name, s.Args[0])
	p, err := f.find(name)
	if err == nil {
		f.run(p)
	}
	return err
}

func (f *fakePod) Wait(ctx context.Context, name sandbox.Process) (sandbox.Exit, error) {
	p, err := f.find(name)
	if err != nil {
		return sandbox.Exit{}, err
	}
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}

func (f *fakePod) Signal(_ context.Context, name sandbox.Process, signal uint32, all bool) error {
	if f.refuse != nil {
		if err := f.refuse("signal"); err != nil {
			return err
		}
	}
	p, err := f.find(name)
	if err != nil {
		return err
	}
	if all {
		f.note("signal all of " + name.Container)
	}
	p.signals <- signal
	return nil
}

func (f *fakePod) Resize(_ context.Context, name sandbox.Process, _, _ uint32) error {
	f.note("resize " + name.Container + name.Exec)
	return nil
}

func (f *fakePod) copy(ctx context.Context, w io.Writer, r *io.PipeReader) error {
	stop := context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })
	defer stop()
	dead := context.AfterFunc(f.life, func() { r.CloseWithError(errors.New("gone")) })
	defer dead()
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 32<<10))
	if err != nil {
		r.CloseWithError(err)
	}
	return err
}

func (f *fakePod) Stdout(ctx context.Context, name sandbox.Process, w io.Writer) error {
	p, err := f.find(name)
	if err != nil {
		return err
	}
	return f.copy(ctx, w, p.out)
}

func (f *fakePod) Stderr(ctx context.Context, name sandbox.Process, w io.Writer) error {
	p, err := f.find(name)
	if err != nil {
		return err
	}
	return f.copy(ctx, w, p.err)
}

func (f *fakePod) Stdin(_ context.Context, name sandbox.Process, r io.Reader) error {
	p, err := f.find(name)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{p.inW}, struct{ io.Reader }{r}, make([]byte, 32<<10))
	p.inW.CloseWithError(err) // nil is the end
	return err
}

func (f *fakePod) Stats(context.Context, string) (*stats.Metrics, error) {
	return &stats.Metrics{Pids: &stats.PidsStat{Current: 7}}, nil
}

func (f *fakePod) Pause(_ context.Context, id string) error {
	f.note("pause " + id)
	return nil
}

func (f *fakePod) Resume(_ context.Context, id string) error {
	f.note("resume " + id)
	return nil
}

func (f *fakePod) Update(_ context.Context, id string, r *specs.LinuxResources) error {
	f.note("update " + id)
	if r.CPU == nil {
		return errdefs.ErrInvalidArgument
	}
	return nil
}

func (f *fakePod) Remove(_ context.Context, id string) error {
	f.note("remove " + id)
	if f.refuse != nil {
		return f.refuse("remove")
	}
	return nil
}

func (f *fakePod) OOM() <-chan string    { return f.oom }
func (f *fakePod) Done() <-chan struct{} { return f.life.Done() }
func (f *fakePod) Err() error            { return context.Cause(f.life) }
func (f *fakePod) PID() int              { return 4711 }
func (f *fakePod) Lose(why error)        { f.die(why) }

func (f *fakePod) Stop(context.Context) error {
	f.note("stop")
	f.die(errors.New("stopped"))
	f.work.Wait()
	return nil
}

// The programs of the tests.
var programs = map[string]program{
	"true":  func(context.Context, *fakeProcess) uint32 { return 0 },
	"exit3": func(context.Context, *fakeProcess) uint32 { return 3 },
	"pause": func(ctx context.Context, p *fakeProcess) uint32 {
		select {
		case s := <-p.signals:
			return 128 + s
		case <-ctx.Done():
			return 255
		}
	},
	// flood writes more than anybody reads, and ends with its signal all the same.
	"flood": func(ctx context.Context, p *fakeProcess) uint32 {
		go func() { _, _ = p.outW.Write(make([]byte, 1<<20)) }()
		select {
		case s := <-p.signals:
			return 128 + s
		case <-ctx.Done():
			return 255
		}
	},
	"deaf": func(ctx context.Context, _ *fakeProcess) uint32 {
		<-ctx.Done()
		return 255
	},
	"cat": func(_ context.Context, p *fakeProcess) uint32 {
		if _, err := io.Copy(p.outW, struct{ io.Reader }{p.in}); err != nil {
			return 1
		}
		return 0
	},
}
