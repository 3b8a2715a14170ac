package e2e

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// faultCases is every fault of the script. Where go-sev-guest's client does otherwise than ours, the case says what it does.
func faultCases() []clientCase {
	fault := func(f ...emulator.Fault) []emulator.Fault { return f }
	all := func(want string) map[string]string {
		return map[string]string{oursIoctl: want, oursConfigfs: want, theirIoctl: want, theirConfigfs: want}
	}
	cases := []clientCase{
		{name: "busy for a while", play: fault(emulator.Fault{Kind: emulator.FaultBusy, Times: 3, WaitMS: 5})},
		{name: "busy for too long once", play: fault(emulator.Fault{Kind: emulator.FaultBusy, Times: 31, Count: 1}), want: map[string]string{
			oursIoctl: "busy, good, good", oursConfigfs: "busy, good, good",
			theirIoctl: "no certificate, good, good", theirConfigfs: "ETIMEDOUT, good, good", // it takes any failure of the first ask for a host without certificates
			derivedKeys: "busy: ",
		}},
		{name: "throttled", play: fault(emulator.Fault{Kind: emulator.FaultThrottled, WaitMS: 20})},
		{name: "unclear failure", play: fault(emulator.Fault{Kind: emulator.FaultBroken, Count: 1}), want: map[string]string{
			oursIoctl: "EIO, key lost, key lost", oursConfigfs: "EIO, key lost, key lost",
			theirIoctl: "ENOTTY, ENOTTY, ENOTTY", theirConfigfs: "EIO, ENOTTY, ENOTTY",
			derivedKeys: "EIO: ",
		}},
		{name: "key wiped", play: fault(emulator.Fault{Kind: emulator.FaultWiped}), want: map[string]string{
			oursIoctl: "key lost, key lost, key lost", oursConfigfs: "key lost, key lost, key lost",
			theirIoctl: "ENOTTY, ENOTTY, ENOTTY", theirConfigfs: "ENOTTY, ENOTTY, ENOTTY",
			derivedKeys: "key lost: ",
		}},
		{name: "no certificates", play: fault(emulator.Fault{Kind: emulator.FaultCertsNone}), want: all("no certificate, no certificate, no certificate")},
		{name: "table that wraps", play: fault(emulator.Fault{Kind: emulator.FaultCertsWrap}), want: map[string]string{
			oursIoctl: "table refused, table refused, table refused", oursConfigfs: "table refused, table refused, table refused",
			theirIoctl: "panic, panic, panic", theirConfigfs: "panic, panic, panic", // pitfall 5
		}},
		{name: "garbage for a table", play: fault(emulator.Fault{Kind: emulator.FaultCertsGarbage}), want: map[string]string{
			oursIoctl: "table refused, table refused, table refused", oursConfigfs: "table refused, table refused, table refused",
			theirIoctl: "other, other, other", theirConfigfs: "other, other, other",
		}},
		{name: "a hundred entries", play: fault(emulator.Fault{Kind: emulator.FaultCertsMany}), want: all("table refused, table refused, table refused")},
		{name: "table too large", play: fault(emulator.Fault{Kind: emulator.FaultCertsHuge}), want: map[string]string{
			oursIoctl: "no certificate, no certificate, no certificate", oursConfigfs: "EIO, EIO, EIO",
			theirIoctl: "other, other, other", theirConfigfs: "EIO, EIO, EIO",
		}},
		{name: "other writer once", play: fault(emulator.Fault{Kind: emulator.FaultRace, Count: 1}), want: map[string]string{theirConfigfs: "other, good, good"}},
		{name: "other writer always", play: fault(emulator.Fault{Kind: emulator.FaultRace}), want: map[string]string{
			oursConfigfs: "other, other, other", theirConfigfs: "other, other, other",
		}},
		{name: "tampered", play: fault(emulator.Fault{Kind: emulator.FaultTampered}), want: all("bad, bad, bad")},
		{name: "bit of the signature", play: fault(emulator.Fault{Kind: emulator.FaultFlip, Bit: 8*(snp.SignedSize+3) + 2}), want: all("bad, bad, bad")},
		{name: "bit of the nonce", play: fault(emulator.Fault{Kind: emulator.FaultFlip, Bit: 8*0x50 + 1}), want: map[string]string{
			oursIoctl: "other, other, other", oursConfigfs: "other, other, other", theirIoctl: "nonce, nonce, nonce", theirConfigfs: "nonce, nonce, nonce",
		}},
		{name: "bit of a certificate", play: fault(emulator.Fault{Kind: emulator.FaultFlipCerts, Bit: 8*(4*24+100) + 1}), want: all("certificate refused, certificate refused, certificate refused")},
		{name: "tcb upgrade", play: fault(emulator.Fault{Kind: emulator.FaultTCBUpgrade, After: 3}), check: checkUpgrade},
		{
			name: "tcb upgrade and old certificates", play: fault(emulator.Fault{Kind: emulator.FaultTCBUpgrade, After: 2}, emulator.Fault{Kind: emulator.FaultTCBLag}),
			want: map[string]string{oursIoctl: "good, bad, bad", oursConfigfs: "good, good, bad", theirIoctl: "good, bad, bad", theirConfigfs: "good, good, bad"},
		},
		{name: "level floor", edit: func(p *emulator.TEEParams) { p.VMPLFloor = 2 }, want: map[string]string{
			oursIoctl: "other, other, other", oursConfigfs: "", theirIoctl: "other, other, other", theirConfigfs: "ENXIO, ENXIO, ENXIO",
			derivedKeys: "",
		}, check: func(t *testing.T, got map[string]clientResult) {
			if r := got[oursConfigfs]; !strings.HasPrefix(r.Opened, "level: ") {
				t.Errorf("ours by configfs: got %q, want the level refused", r.Opened)
			}
		}},
		{name: "ioctl only", edit: func(p *emulator.TEEParams) { p.Interface = emulator.IoctlOnly }, want: map[string]string{
			oursConfigfs: "", theirConfigfs: "other, other, other",
		}},
		{name: "configfs only", edit: func(p *emulator.TEEParams) { p.Interface = emulator.ConfigfsOnly }, want: map[string]string{
			oursIoctl: "", theirIoctl: "other, other, other", derivedKeys: "other: derived key: derived keys need the ioctl device: configfs-tsm ",
		}},
		{name: "room for one entry", edit: func(p *emulator.TEEParams) { p.Entries = 1 }},
	}
	for i := range cases {
		cases[i].id = emulator.DefaultIdentity()
	}
	return cases
}

// checkUpgrade: the TCB moved between two requests, and the certificates with it.
func checkUpgrade(t *testing.T, got map[string]clientResult) {
	parts := emulator.DefaultIdentity().TCB
	before := parts.Bytes(snp.Genoa)
	parts.SNP++
	after := parts.Bytes(snp.Genoa)
	for way, want := range map[string][3]snp.TCB{
		oursIoctl: {before, before, after}, oursConfigfs: {before, before, before},
	} {
		for i, a := range got[way].Asks {
			if a.TCB != hex.EncodeToString(want[i][:]) {
				t.Errorf("%s: ask %d: got tcb %s, want %x", way, i, a.TCB, want[i])
			}
		}
	}
}
