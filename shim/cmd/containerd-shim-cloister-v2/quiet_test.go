package main

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/log"
)

type plain struct{}

func (plain) Format(e *log.Entry) ([]byte, error) {
	return []byte(e.Message + "\n"), nil
}

func TestQuiet(t *testing.T) {
	q := &quiet{formatter: plain{}}
	var written strings.Builder
	write := func(text string, at time.Time) {
		t.Helper()
		line, err := q.Format(&log.Entry{Logger: log.L.Logger, Message: text, Time: at})
		if err != nil {
			t.Fatal(err)
		}
		written.Write(line)
	}
	now := time.Now()
	for range 1000 {
		write("ttrpc: received message on inactive stream", now)
	}
	write("process was lost", now)
	write("process was lost", now)
	if got, want := strings.Count(written.String(), "\n"), 3; got != want {
		t.Errorf("lines: got %d, want %d", got, want)
	}
	if dropped, ok := q.admit(now.Add(quietPause)); !ok || dropped != 999 {
		t.Errorf("a minute later: got %d, %v, want 999 dropped, true", dropped, ok)
	}
}
