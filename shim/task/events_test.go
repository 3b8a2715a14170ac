package task

import (
	"context"
	"testing"

	"github.com/containerd/containerd/api/events"

	"github.com/cloister-cc/cloister/shim/spec"
)

// While containerd takes nothing, what repeats itself waits once; no exit is lost.
func TestQueueIsBounded(t *testing.T) {
	q := newQueue(func(ctx context.Context, _ string, _ Event) error {
		<-ctx.Done()
		return ctx.Err()
	})
	defer q.close()
	const n = 1000
	for i := range n {
		q.push(&events.TaskOOM{ContainerID: "a"})
		q.push(noteEvent("a", spec.Note{Field: "env", What: "changed"}))
		q.push(&events.TaskOOM{ContainerID: "b"})
		q.push(&events.TaskExit{ContainerID: "a", ID: "a", Pid: uint32(i % 2)})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	count := map[string]int{}
	for _, e := range q.waiting {
		count[topicOf(e)]++
	}
	// The first event may be on its way, and the same one wait behind it.
	if ooms, notes, exits := count["/tasks/oom"], count[NoteTopic], count["/tasks/exit"]; ooms > 2 || notes != 1 || exits != n {
		t.Errorf("waiting: got %d out-of-memory events, %d notes, %d exits, want at most 2, 1, %d", ooms, notes, exits, n)
	}
}
