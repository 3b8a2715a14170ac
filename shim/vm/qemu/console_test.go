package qemu

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func TestConsoleIsBounded(t *testing.T) {
	for _, tc := range []struct{ said, want string }{
		{"", ""},
		{"short", "short"},
		{"12345678", "12345678"},
		{"123456789", "12345678" + consoleFull},
		{strings.Repeat("x", 1<<20), "xxxxxxxx" + consoleFull},
	} {
		var got bytes.Buffer
		from := strings.NewReader(tc.said)
		if copyConsole(&got, iotest.HalfReader(from), 8); got.String() != tc.want || from.Len() != 0 {
			t.Errorf("%.20q: got %q and %d bytes not read, want %q and none", tc.said, got.String(), from.Len(), tc.want)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A guest whose console cannot be kept runs on: what it says is read all the same.
func TestConsoleOnAFullDisk(t *testing.T) {
	from := strings.NewReader(strings.Repeat("x", 1<<20))
	if copyConsole(fullDisk{}, from, 1<<21); from.Len() != 0 {
		t.Errorf("%d bytes were not read", from.Len())
	}
}

// What the guest said is in the file when its VM has ended, and nothing of the pipe is left.
func TestConsoleIsCopied(t *testing.T) {
	before := openCount(t, os.Getpid())
	c := tinyConfig(t, guestTalks)
	m, err := Start(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}
	ended(t, m)
	if said, err := os.ReadFile(c.Console); err != nil || !bytes.HasSuffix(said, []byte("x")) {
		t.Errorf("got console %q, %v, want the guest's last word", said, err)
	}
	if after := openCount(t, os.Getpid()); after != before {
		t.Errorf("got %d descriptors, want %d", after, before)
	}
}
