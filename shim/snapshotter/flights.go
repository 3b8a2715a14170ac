package snapshotter

import (
	"context"
	"errors"
	"sync"
)

// flights are pieces of work that whoever asks waits for, and that go on when he no longer does: a pod that is given up because its layers took too
// long finds them made when it is tried again. The zero value is not ready; see newFlights.
type flights struct {
	life context.Context
	end  context.CancelCauseFunc

	mu    sync.Mutex
	going map[string]*flight
	wait  sync.WaitGroup
	ended bool
}

type flight struct {
	done chan struct{}
	made disk
	err  error
}

var errClosed = errors.New("the snapshotter is being closed")

func newFlights() *flights {
	f := &flights{going: map[string]*flight{}}
	f.life, f.end = context.WithCancelCause(context.Background())
	return f
}

// do joins the work of a name, or begins it.
func (f *flights) do(ctx context.Context, name string, work func(context.Context) (disk, error)) (disk, error) {
	one, err := f.join(name, work)
	if err != nil {
		return disk{}, err
	}
	select {
	case <-one.done:
		return one.made, one.err
	case <-ctx.Done():
		return disk{}, context.Cause(ctx)
	}
}

func (f *flights) join(name string, work func(context.Context) (disk, error)) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil, errClosed
	}
	if one := f.going[name]; one != nil {
		return one, nil
	}
	one := &flight{done: make(chan struct{})}
	f.going[name] = one
	f.wait.Go(func() {
		one.made, one.err = work(f.life)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.going, name)
		close(one.done)
	})
	return one, nil
}

// close gives up what goes on and waits until it has ended.
func (f *flights) close() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.end(errClosed)
	f.wait.Wait()
}
