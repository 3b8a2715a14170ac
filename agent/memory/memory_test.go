package memory

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTrimsOnceAfterQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worked, rested := 0, 0
		tr := Trimmer{work: func() { worked++ }, rest: func() { rested++ }}
		check := func(when string, wantWorked, wantRested int) {
			t.Helper()
			synctest.Wait()
			if worked != wantWorked || rested != wantRested {
				t.Fatalf("%s: got %d times at work and %d at rest, want %d and %d", when, worked, rested, wantWorked, wantRested)
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
