package memory

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTrimsOnceAfterQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var worked, rested atomic.Int32
		tr := Trimmer{work: func() { worked.Add(1) }, rest: func() { rested.Add(1) }}
		check := func(when string, wantWorked, wantRested int32) {
			t.Helper()
			synctest.Wait()
			if worked.Load() != wantWorked || rested.Load() != wantRested {
				t.Fatalf("%s: got %d times at work and %d at rest, want %d and %d", when, worked.Load(), rested.Load(), wantWorked, wantRested)
			}
		}
		for range 10 {
			tr.Touch()
			time.Sleep(quiet / 2)
		}
		check("while things happen", 1, 0)
		time.Sleep(quiet)
		check("after a quiet time", 1, 1)
		tr.Touch()
		time.Sleep(2 * quiet)
		check("after the second", 2, 2)
	})
}
