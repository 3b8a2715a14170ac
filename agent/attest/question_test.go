package attest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

func asker(d Reporter, opt Options) *questions { return newQuestions(newBroker(d, opt)) }

func word(s string) [64]byte { return snp.HashedReportData([]byte(s)) }

// TestIdenticalQuestionsAreAskedOnce: a thousand callers ask the same while the device is busy with the first of them.
func TestIdenticalQuestionsAreAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{wait: make(chan struct{})}
		q := asker(d, Options{Burst: 1})
		for range 1000 {
			go func() {
				if _, err := q.report(t.Context(), word("same")); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		close(d.wait)
		synctest.Wait()
		if n := d.calls(); n != 1 {
			t.Errorf("got %d device calls, want 1", n)
		}
	})
}

// TestAnAnswerStandsForAMoment: the same question again is not asked again until the answer is old; another question is.
func TestAnAnswerStandsForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{}
		q := asker(d, Options{})
		for _, step := range []struct {
			after time.Duration
			ask   string
			calls int
		}{
			{0, "a", 1}, {time.Second, "a", 1}, {time.Millisecond, "a", 2}, {0, "b", 3}, {0, "a", 4}, {0, "a", 4},
		} {
			time.Sleep(step.after)
			ev, err := q.report(t.Context(), word(step.ask))
			if err != nil || d.calls() != step.calls {
				t.Errorf("after %v, %q: got %v, %d calls, want %d", step.after, step.ask, err, d.calls(), step.calls)
				continue
			}
			if r, err := snp.ParseReport(ev.Report); err != nil || r.ReportData != word(step.ask) {
				t.Errorf("%q: got a report over something else", step.ask)
			}
		}
		q.forget()
		if _, err := q.report(t.Context(), word("a")); err != nil || d.calls() != 5 {
			t.Errorf("after forget: got %v, %d calls, want 5", err, d.calls())
		}
		without := asker(d, Options{Reuse: -1})
		for range 2 {
			if _, err := without.report(t.Context(), word("a")); err != nil {
				t.Error(err)
			}
		}
		if d.calls() != 7 {
			t.Errorf("without reuse: got %d calls, want 7", d.calls())
		}
	})
}

// TestNothingIsSharedBetweenContainers: two containers with the same question each get a report of their own, at the same time or after each
// other: neither learns by the time it takes that the other asked.
func TestNothingIsSharedBetweenContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{wait: make(chan struct{})}
		b := newBroker(d, Options{})
		first, second := newQuestions(b), newQuestions(b)
		var wg sync.WaitGroup
		for _, q := range []*questions{first, second} {
			wg.Go(func() {
				if _, err := q.report(t.Context(), word("same")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(d.wait)
		wg.Wait()
		if d.calls() != 2 || d.overlaps.Load() != 0 {
			t.Errorf("got %d device calls, %d of them at once; want 2, one after the other", d.calls(), d.overlaps.Load())
		}
	})
}

// TestOneContainerWaitsInLineOnce: with many questions of one container before the device, a neighbour's is the next but one.
func TestOneContainerWaitsInLineOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{wait: make(chan struct{})}
		b := newBroker(d, Options{})
		loud, quiet := newQuestions(b), newQuestions(b)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { _, _ = loud.report(t.Context(), word(string(rune('a'+i)))) })
		}
		synctest.Wait()
		served := make(chan int, 1)
		wg.Go(func() {
			if _, err := quiet.report(t.Context(), word("quiet")); err != nil {
				t.Error(err)
			}
			served <- d.calls()
		})
		synctest.Wait()
		for range 21 {
			d.wait <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		if n := <-served; n > 3 {
			t.Errorf("the neighbour's question was answered after %d calls, want 2 or 3", n)
		}
	})
}

// TestCallerThatLeavesDoesNotEndTheCall: the first of two callers goes away, the second still gets the report.
func TestCallerThatLeavesDoesNotEndTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{wait: make(chan struct{})}
		q := asker(d, Options{})
		ctx, leave := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		ask := func(ctx context.Context, to chan error) {
			_, err := q.report(ctx, word("same"))
			to <- err
		}
		go ask(ctx, first)
		synctest.Wait()
		go ask(t.Context(), second)
		synctest.Wait()
		leave()
		synctest.Wait()
		close(d.wait)
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("first caller: got %v", err)
		}
		if err := <-second; err != nil || d.calls() != 1 {
			t.Errorf("second caller: got %v, %d calls", err, d.calls())
		}
	})
}

func TestDeviceIsAskedOneAtATime(t *testing.T) {
	d := &fakeDevice{}
	b := newBroker(d, Options{Burst: 100})
	containers := []*questions{newQuestions(b), newQuestions(b), newQuestions(b)}
	var wg sync.WaitGroup
	for i := range 33 {
		wg.Go(func() {
			ev, err := containers[i%3].report(t.Context(), word(string(rune(i))))
			if err != nil {
				t.Error(err)
				return
			}
			report, err := snp.ParseReport(ev.Report)
			if err != nil || report.ReportData != word(string(rune(i))) {
				t.Errorf("caller %d got another's report", i)
			}
		})
	}
	wg.Wait()
	if d.overlaps.Load() != 0 || d.calls() != 33 {
		t.Errorf("got %d overlapping calls of %d, want none of 33", d.overlaps.Load(), d.calls())
	}
}

// TestQueueHasADeadline: a device that hangs costs each caller its deadline and no more, and works again afterwards.
func TestQueueHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{wait: make(chan struct{})}
		q := asker(d, Options{Deadline: time.Minute})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if _, err := q.report(t.Context(), word(string(rune(i)))); !errors.Is(err, ErrDeadline) {
					t.Errorf("got %v, want ErrDeadline", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != time.Minute {
			t.Errorf("got the answers after %v, want one minute", took)
		}
		close(d.wait)
		if _, err := q.report(t.Context(), word("later")); err != nil {
			t.Errorf("after the hang: %v", err)
		}
	})
}

// TestRateIsPerContainer: one container that asks without end is told so; its neighbour notices nothing. What needs no device needs no token of it.
func TestRateIsPerContainer(t *testing.T) {
	d := &fakeDevice{}
	b := newBroker(d, Options{Rate: 1, Burst: 5, Requests: 1, RequestBurst: 40})
	t.Cleanup(b.Close)
	now := time.Unix(1000, 0)
	b.now = func() time.Time { return now }
	loud, quiet := listen(t, b, "loud"), listen(t, b, "quiet")
	var answer any
	for i := range 5 {
		loud.ok("POST", "/attest/raw", azureBody([]byte{byte(i)}), &answer)
	}
	loud.refused("POST", "/attest/raw", azureBody([]byte("more")), http.StatusTooManyRequests, "questions a second")
	loud.ok("POST", "/attest/raw", azureBody([]byte{4}), &answer) // the last question again
	loud.ok("GET", "/status", "", &answer)
	quiet.ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
	if d.calls() != 6 {
		t.Errorf("got %d device calls, want 6", d.calls())
	}
	now = now.Add(time.Second)
	loud.ok("POST", "/attest/raw", azureBody([]byte("key")), &answer)
	loud.refused("POST", "/attest/raw", azureBody([]byte("more")), http.StatusTooManyRequests, "questions a second")
	for {
		status, _ := loud.do("GET", "/status", "")
		if status == http.StatusTooManyRequests {
			break
		}
		if now = now.Add(time.Nanosecond); status != http.StatusOK {
			t.Fatalf("got status %d", status)
		}
	}
	loud.refused("GET", "/nothing", "", http.StatusTooManyRequests, "requests a second")
	quiet.ok("GET", "/status", "", &answer)
}

// TestTheLastCallerEndsTheCall: a question that nobody waits for any more does not keep the device from others.
func TestTheLastCallerEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{wait: make(chan struct{})}
		b := newBroker(d, Options{})
		gone, other := newQuestions(b), newQuestions(b)
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := gone.report(ctx, word("same")); !errors.Is(err, context.Canceled) {
					t.Errorf("a caller that left: got %v", err)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		answered := make(chan error, 2)
		go func() { _, err := other.report(t.Context(), word("other")); answered <- err }()
		go func() { _, err := gone.report(t.Context(), word("same")); answered <- err }()
		synctest.Wait()
		close(d.wait)
		if err := errors.Join(<-answered, <-answered); err != nil || d.calls() != 3 {
			t.Errorf("got %v, %d calls, want 3", err, d.calls())
		}
		if len(gone.flights) != 0 {
			t.Errorf("%d questions are left", len(gone.flights))
		}
	})
}
