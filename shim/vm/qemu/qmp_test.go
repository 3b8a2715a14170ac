package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if helperMain() {
		return
	}
	goleak.VerifyTestMain(m)
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}`

// fakeQEMU answers each command with what answer returns: lines, of which %d stands for the command's id.
func fakeQEMU(t *testing.T, hello string, answer func(command string) []string) net.Conn {
	t.Helper()
	ours, file, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = theirs.Close() }()
		if _, err := fmt.Fprintln(theirs, hello); err != nil {
			return
		}
		for lines := bufio.NewScanner(theirs); lines.Scan(); {
			var c struct {
				Execute string
				ID      int
			}
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				t.Errorf("got %q: %v", lines.Text(), err)
				return
			}
			reply := []string{`{"return": {}, "id": %d}`}
			if c.Execute != "qmp_capabilities" {
				reply = answer(c.Execute)
			}
			for _, line := range reply {
				if line == "close" {
					return
				}
				if _, err := fmt.Fprintln(theirs, strings.ReplaceAll(line, "%d", fmt.Sprint(c.ID))); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() { _ = ours.Close(); <-done })
	return ours
}

func monitor(t *testing.T, answer func(string) []string) *qmp {
	t.Helper()
	q, err := newQMP(testContext(t), fakeQEMU(t, greeting, answer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.close() })
	return q
}

func lines(l ...string) func(string) []string { return func(string) []string { return l } }

func TestExecute(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer []string
		want   string
	}{
		{"done", []string{`{"return": {}, "id": %d}`}, ""},
		{"refused", []string{`{"error": {"class": "GenericError", "desc": "no such node"}, "id": %d}`}, "qmp x: GenericError: no such node"},
		{"event-before-the-reply", []string{`{"event": "RESUME", "data": {}}`, `{"return": {}, "id": %d}`}, ""},
		{"reply-to-something-else", []string{`{"return": {}, "id": 99}`, `{"return": {}}`, `{"return": {}, "id": %d}`}, ""},
		{"closed", []string{"close"}, "qmp x: the control socket ended"},
		{"not-json", []string{"]"}, "qmp message"},
		{"endless-line", []string{strings.Repeat("x", maxMessage+1)}, "got more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := monitor(t, lines(tc.answer...)).execute(testContext(t), "x", nil)
			switch {
			case tc.want == "" && err != nil:
				t.Fatalf("got %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Fatalf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestExecuteGivesUpWithItsContext(t *testing.T) {
	q := monitor(t, lines())
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond)
	defer cancel()
	if err := q.execute(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) != 0 {
		t.Error("the command is still waited for")
	}
}

func TestGreetingMissing(t *testing.T) {
	for _, hello := range []string{`{"return": {}}`, "hello", ""} {
		if _, err := newQMP(testContext(t), fakeQEMU(t, hello, lines())); err == nil {
			t.Errorf("took %q for a greeting", hello)
		}
	}
}

func TestDeviceDeletedMayPrecedeTheReply(t *testing.T) {
	m := &VM{monitor: monitor(t, func(command string) []string {
		if command == "device_del" {
			return []string{`{"event": "DEVICE_DELETED", "data": {"path": "/x", "device": "disk-0"}}`, `{"return": {}, "id": %d}`}
		}
		return []string{`{"return": {}, "id": %d}`}
	})}
	ctx := testContext(t)
	address, err := m.Plug(ctx, disk(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unplug(ctx, address); err != nil {
		t.Fatal(err)
	}
	if m.disks.has(address.LUN) {
		t.Error("the unit number is still taken")
	}
}

// A disk that QEMU may still have open keeps its number: another one under the same number would be a different layer at a
// known address.
func TestDiskStateUnknown(t *testing.T) {
	silent := func(on string) func(string) []string {
		return func(command string) []string {
			if command == on {
				return nil
			}
			return []string{`{"return": {}, "id": %d}`}
		}
	}
	for _, on := range []string{"add-fd", "blockdev-add", "device_add"} {
		t.Run("plug-"+on, func(t *testing.T) {
			m := &VM{monitor: monitor(t, silent(on))}
			ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond)
			defer cancel()
			if _, err := m.Plug(ctx, disk(t)); !errors.Is(err, ErrDiskStateUnknown) {
				t.Fatalf("got %v, want an unknown state", err)
			}
			if !m.disks.has(0) {
				t.Error("the unit number was given back")
			}
		})
	}
	t.Run("unplug-without-event", func(t *testing.T) {
		m := &VM{monitor: monitor(t, silent(""))}
		address, err := m.Plug(testContext(t), disk(t))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(testContext(t), 10*time.Millisecond)
		defer cancel()
		if err := m.Unplug(ctx, address); !errors.Is(err, ErrDiskStateUnknown) {
			t.Fatalf("got %v, want an unknown state", err)
		}
		if !m.disks.has(address.LUN) {
			t.Error("the unit number was given back")
		}
	})
}

func TestRefusedPlugIsUndone(t *testing.T) {
	var commands []string
	m := &VM{monitor: monitor(t, func(command string) []string {
		commands = append(commands, command)
		if command == "device_add" {
			return []string{`{"error": {"class": "GenericError", "desc": "no"}, "id": %d}`}
		}
		return []string{`{"return": {}, "id": %d}`}
	})}
	if _, err := m.Plug(testContext(t), disk(t)); err == nil || errors.Is(err, ErrDiskStateUnknown) {
		t.Fatalf("got %v, want a plain refusal", err)
	}
	if m.disks.has(0) {
		t.Error("the unit number is taken")
	}
	if got := strings.Join(commands, " "); got != "add-fd blockdev-add remove-fd device_add blockdev-del" {
		t.Errorf("got commands %s", got)
	}
}

func TestUnitNumbersComeBackLate(t *testing.T) {
	var d disks
	for want := range maxLUN + 1 {
		if got, err := d.take(); err != nil || got != want {
			t.Fatalf("got %d, %v, want %d", got, err, want)
		}
	}
	if _, err := d.take(); err == nil {
		t.Fatal("one number too many")
	}
	d.release(7)
	d.release(3)
	if got, _ := d.take(); got != 3 {
		t.Errorf("got %d, want 3: the search goes on from the last number", got)
	}
	if got, _ := d.take(); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
}

func TestWhere(t *testing.T) {
	m := &VM{monitor: monitor(t, lines(`{"return": "\r\nCPU#0\r\nRAX=0 RBX=0\r\nRIP=ffffffff8101f2a0 RFL=00000046\r\nCPU#1\r\nRIP=000000000000fff0 RFL=00000002\r\n", "id": %d}`))}
	got, err := m.Where(testContext(t))
	if want := "RIP=ffffffff8101f2a0 RFL=00000046; RIP=000000000000fff0 RFL=00000002"; err != nil || got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	m = &VM{monitor: monitor(t, lines(`{"return": "not today", "id": %d}`))}
	if got, err := m.Where(testContext(t)); err == nil {
		t.Errorf("got %q of a dump without a processor, want an error", got)
	}
}

// A guest may have taken QEMU over: whatever it writes is an error or a message, and never more than a line is kept.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte(greeting + "\n"))
	f.Add([]byte(`{"return": [], "id": 7}` + "\n" + `{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}` + "\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(stream), maxMessage)
		for range bytes.Count(stream, []byte("\n")) + 1 {
			if _, err := readMessage(r); err != nil {
				return
			}
		}
		t.Errorf("got more messages than lines from %q", stream)
	})
}
