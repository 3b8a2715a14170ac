package emulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"syscall"
	"time"

	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// script is the fault script as it is played.
type script struct {
	faults   []Fault
	seen     []uint64 // by each fault, so far
	held     bool
	wiped    bool
	upgraded bool
}

// effects is what the script has for one request.
type effects struct {
	busy, throttled Fault // zero if the host is willing
	broken, wiped   bool
	flips           []uint32 // bits of the report
	certFlips       []uint32 // bits of the certificate table
	certs           FaultKind
	race            bool
	upgraded, lag   bool
}

func newScript(faults []Fault) script {
	return script{faults: faults, seen: make([]uint64, len(faults))}
}

// next counts a request, which for keys has no data, and gathers what the script has for it.
func (s *script) next(data []byte) effects {
	if s.held {
		return effects{}
	}
	var e effects
	for i, f := range s.faults {
		if f.sees(data) {
			if n := s.seen[i]; f.holds(n) || f.sticks() && n >= uint64(f.After) {
				s.apply(f, &e)
			}
			s.seen[i]++
		}
	}
	e.wiped, e.upgraded = s.wiped, s.upgraded
	return e
}

func (s *script) apply(f Fault, e *effects) {
	switch f.Kind {
	case FaultBusy:
		e.busy = f
	case FaultThrottled:
		e.throttled = f
	case FaultBroken:
		e.broken = true
	case FaultWiped:
		s.wiped = true
	case FaultTampered:
		e.flips = append(e.flips, 0x090*8)
	case FaultFlip:
		e.flips = append(e.flips, f.Bit)
	case FaultFlipCerts:
		e.certFlips = append(e.certFlips, f.Bit)
	case FaultRace:
		e.race = true
	case FaultTCBUpgrade:
		s.upgraded = true
	case FaultTCBLag:
		e.lag = true
	default:
		e.certs = f.Kind
	}
}

// wait is the kernel's patience with a host that is busy: it asks again and again, for a minute. last is when the last request was served.
func (e effects) wait(ctx context.Context, last time.Time) syscall.Errno {
	if e.busy.Times > maxBusy {
		return syscall.ETIMEDOUT
	}
	pause := time.Duration(e.busy.Times*e.busy.WaitMS) * time.Millisecond
	if e.throttled.Kind != "" {
		pause = max(pause, time.Until(last.Add(time.Duration(e.throttled.WaitMS)*time.Millisecond)))
	}
	if pause <= 0 {
		return 0
	}
	select {
	case <-time.After(pause):
		return 0
	case <-ctx.Done():
		return syscall.EINTR
	}
}

// table is the certificate table of the request, and the room it wants in whole pages.
func (e effects) table(good []byte) (table []byte, need uint32) {
	table = faultyCerts(e.certs, good)
	if len(e.certFlips) > 0 {
		table = flip(bytes.Clone(table), e.certFlips)
	}
	if e.certs == FaultCertsHuge {
		return table, sevguest.MaxCertsLen + sevguest.PageSize
	}
	return table, uint32((len(table) + sevguest.PageSize - 1) &^ (sevguest.PageSize - 1))
}

// spoil flips what the script flips, after the signature was made.
func (e effects) spoil(report []byte) []byte { return flip(report, e.flips) }

// flip flips bits; those beyond the end are left alone.
func flip(b []byte, bits []uint32) []byte {
	for _, bit := range bits {
		if int(bit/8) < len(b) {
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
	return b
}

// faultyCerts are the tables of a hostile or careless host.
func faultyCerts(kind FaultKind, good []byte) []byte {
	switch kind {
	case FaultCertsNone:
		return nil
	case FaultCertsWrap:
		table := slices.Clone(good)
		binary.LittleEndian.PutUint32(table[16:], 0xFFFFFFF0)
		binary.LittleEndian.PutUint32(table[20:], 0x20)
		return table
	case FaultCertsGarbage:
		return slices.Repeat([]byte{0xA5}, 3000)
	case FaultCertsMany:
		return manyEntries(good)
	}
	return good
}

// manyEntries is a table of a hundred entries, each of another kind, that all name the first certificate.
func manyEntries(good []byte) []byte {
	const entries, size = 100, 24
	first := good[binary.LittleEndian.Uint32(good[16:]):][:binary.LittleEndian.Uint32(good[20:])]
	table := make([]byte, (entries+1)*size)
	for i := range entries {
		e := table[i*size:]
		copy(e, good[:16])
		e[15] = byte(i)
		binary.LittleEndian.PutUint32(e[16:], uint32(len(table)))
		binary.LittleEndian.PutUint32(e[20:], uint32(len(first)))
	}
	return append(table, first...)
}
