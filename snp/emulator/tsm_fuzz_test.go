package emulator

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
)

// FuzzTSMWrites plays accesses to one entry and holds the entry to the kernel's rules: the generation counts accepted writes and nothing else, a report is
// over the last nonce and level, and reading it twice gives the same one.
func FuzzTSMWrites(f *testing.F) {
	proc, err := NewProcessor(testParams(f, DefaultIdentity()))
	if err != nil {
		f.Fatal(err)
	}
	nonce := strings.Repeat("n", 64)
	f.Add([]byte("i\x40" + nonce + "o"))
	f.Add([]byte("i\x3f" + nonce[1:] + "o"))
	f.Add([]byte("i\x41" + nonce + "n"))
	f.Add([]byte("p\x012" + "i\x40" + nonce + "op\x014po"))
	f.Add([]byte("p\x020x1p\x02-1p\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		e, errno := newTSMState(proc).make("e")
		if errno != 0 {
			t.Fatal(errno)
		}
		m := tsmModel{t: t, e: e}
		for len(script) > 0 && m.steps < 64 {
			script = m.step(script)
		}
	})
}

// tsmModel is what the entry should be.
type tsmModel struct {
	t          *testing.T
	e          *tsmEntry
	inblob     []byte
	level      uint32
	generation uint64
	steps      int
}

// step takes one access off the script: o reads the report, i and p write a value whose length follows.
func (m *tsmModel) step(script []byte) []byte {
	m.steps++
	op, script := script[0], script[1:]
	if op == 'o' {
		m.read()
		return script
	}
	if len(script) == 0 || op != 'i' && op != 'p' {
		return script
	}
	n := min(int(script[0]), len(script)-1)
	value, rest := script[1:1+n], script[1+n:]
	write := m.e.setPrivlevel
	if op == 'i' {
		write = m.e.setInblob
	}
	if write(value) == nil {
		m.generation++
		m.wrote(op, value)
	}
	if got, err := m.attribute("generation"); err != nil || got != strconv.FormatUint(m.generation, 10)+"\n" {
		m.t.Fatalf("generation: got %q %v, want %d", got, err, m.generation)
	}
	return rest
}

func (m *tsmModel) wrote(op byte, value []byte) {
	if op == 'i' {
		if len(value) > maxInblob {
			m.t.Fatalf("a nonce of %d bytes was accepted", len(value))
		}
		m.inblob = bytes.Clone(value)
		return
	}
	level, err := strconv.ParseUint(strings.TrimSpace(string(value)), 0, 32)
	if err != nil || level > 3 {
		m.t.Fatalf("privilege level %q was accepted", value)
	}
	m.level = uint32(level)
}

func (m *tsmModel) attribute(name string) (string, error) {
	for _, a := range attributes {
		if a.name == name {
			b, errno := m.e.readAttribute(context.Background(), a)
			if errno != 0 {
				return "", errno
			}
			return string(b), nil
		}
	}
	m.t.Fatalf("no attribute %q", name)
	return "", nil
}

func (m *tsmModel) read() {
	first, err := m.attribute("outblob")
	if len(m.inblob) != maxInblob {
		if err == nil {
			m.t.Fatalf("a report over a nonce of %d bytes", len(m.inblob))
		}
		return
	}
	if err != nil {
		m.t.Fatalf("no report: %v", err)
	}
	r, err := snp.ParseReport([]byte(first))
	if err != nil || !bytes.Equal(r.ReportData[:], m.inblob) || r.VMPL != m.level {
		m.t.Fatalf("another report than was asked for: %v", err)
	}
	if second, err := m.attribute("outblob"); err != nil || second != first {
		m.t.Fatalf("the second read gave another report: %v", err)
	}
}
