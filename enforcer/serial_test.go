package enforcer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tests/cases"
)

// life are the requests of one container's life, on disks of its own.
func life(admission []enforcer.Input, id string, disks int) []enforcer.Input {
	var list []enforcer.Input
	var paths []string
	for _, in := range admission {
		switch in := in.(type) {
		case enforcer.MountDeviceInput:
			in.Target = fmt.Sprintf("/run/mounts/scsi/m%d", disks+len(paths))
			paths = append([]string{in.Target}, paths...)
			list = append(list, in)
		case enforcer.MountOverlayInput:
			in.ContainerID, in.LayerPaths, in.Target = id, paths, "/run/gcs/c/"+id+"/rootfs"
			list = append(list, in)
		case enforcer.CreateContainerInput:
			in.ContainerID = id
			list = append(list, in)
		case enforcer.ExecInContainerInput:
			in.ContainerID = id
			list = append(list, in)
		}
	}
	return append(list,
		enforcer.ShutdownContainerInput{ContainerID: id},
		enforcer.UnmountOverlayInput{UnmountTarget: "/run/gcs/c/" + id + "/rootfs"},
		enforcer.UnmountDeviceInput{UnmountTarget: paths[0]})
}

// lives are those of four containers of one image; the last two fight over the same id and the same disks.
func lives(t testing.TB) (policy string, list [][]enforcer.Input) {
	t.Helper()
	policy, admission := cases.Sized(3, true)
	for i, id := range []string{idA, idB, idC, idC} {
		disks := 10 * min(i, 2)
		list = append(list, life(admission(min(i, 2)), id, disks))
	}
	return policy, list
}

const idC = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

type outcome struct {
	Env     []string
	Caps    *enforcer.Capabilities
	Stdio   bool
	Allowed bool
}

func outcomeOf(d *enforcer.Decision) outcome {
	return outcome{d.Env, d.Capabilities, d.AllowStdio, true}
}

type step struct {
	in  enforcer.Input
	out outcome
}

// TestAnyInterleavingIsSerial: whatever the order in which decisions are made, held, committed and thrown away, those that were
// committed are what the same requests, one after the other in the order of their commits, would have been answered.
func TestAnyInterleavingIsSerial(t *testing.T) {
	policy, list := lives(t)
	for _, judge := range []enforcer.JudgeName{enforcer.JudgeCompiled, enforcer.JudgeOPA} {
		t.Run(string(judge), func(t *testing.T) {
			rounds := 60
			if judge == enforcer.JudgeOPA || raceEnabled {
				rounds = 8
			}
			committed, stale := 0, 0
			for seed := range uint64(rounds) {
				log, missed := interleave(t, loadSerial(t, policy, judge), list, seed)
				committed, stale = committed+len(log), stale+missed
				replaySerially(t, loadSerial(t, policy, judge), log, seed)
			}
			if committed < 10*rounds || stale == 0 {
				t.Errorf("got %d commits and %d stale ones in %d rounds: nothing was tried", committed, stale, rounds)
			}
		})
	}
}

func loadSerial(t testing.TB, policy string, judge enforcer.JudgeName) *enforcer.Enforcer {
	t.Helper()
	opts := cases.Case{DefaultMounts: true}.LoadOptions()
	opts.Judge = judge
	e, err := enforcer.Load(t.Context(), []byte(policy), opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// interleave picks at random whose turn it is: to decide its next request, or to commit or drop the decision it holds.
func interleave(t *testing.T, e *enforcer.Enforcer, list [][]enforcer.Input, seed uint64) (log []step, stale int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	next := make([]int, len(list))
	held := make([]*enforcer.Decision, len(list))
	for range 40 * len(list) {
		i := rnd.IntN(len(list))
		switch {
		case held[i] != nil:
			in := list[i][next[i]]
			d := held[i]
			held[i] = nil
			if rnd.IntN(8) == 0 {
				continue // dropped: it must be as if it had never been asked
			}
			if _, err := d.Commit(); err != nil {
				stale++
				continue
			}
			log = append(log, step{in, outcomeOf(d)})
			next[i]++
		case next[i] < len(list[i]):
			if d, err := e.Decide(t.Context(), list[i][next[i]]); err == nil {
				held[i] = d
			} else if rnd.IntN(2) == 0 {
				next[i]++
			}
		}
	}
	return log, stale
}

func replaySerially(t *testing.T, e *enforcer.Enforcer, log []step, seed uint64) {
	t.Helper()
	for n, s := range log {
		d, err := e.Decide(t.Context(), s.in)
		if err != nil {
			t.Fatalf("seed %d: commit %d, %s, is refused when it comes in turn: %v", seed, n, s.in.Point(), err)
		}
		if diff := cmp.Diff(outcomeOf(d), s.out); diff != "" {
			t.Fatalf("seed %d: commit %d, %s (-serial +interleaved)\n%s", seed, n, s.in.Point(), diff)
		}
		if _, err := d.Commit(); err != nil {
			t.Fatalf("seed %d: commit %d: %v", seed, n, err)
		}
	}
}

// TestContainersDoNotDisturbEachOther runs lives that share nothing but the policy at the same time: each is answered as if it were
// alone, and no commit is stale.
func TestContainersDoNotDisturbEachOther(t *testing.T) {
	policy, list := lives(t)
	e := loadSerial(t, policy, enforcer.JudgeCompiled)
	var wg sync.WaitGroup
	for _, l := range list[:3] {
		wg.Go(func() {
			for n, in := range l {
				d, err := e.Decide(context.Background(), in)
				if err != nil {
					t.Errorf("request %d, %s: %v", n, in.Point(), err)
					return
				}
				if _, err := d.Commit(); err != nil {
					t.Errorf("request %d, %s: %v", n, in.Point(), err)
					return
				}
			}
		})
	}
	wg.Wait()
}
