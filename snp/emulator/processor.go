package emulator

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"
	"syscall"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/internal/sevguest"
)

// Processor is the software SNP processor: what the firmware, the host and the kernel's message channel between them would answer.
type Processor struct {
	params   TEEParams
	upgraded firmware // zero without an upgrade
	reportID [32]byte // one a launch, as the firmware makes it

	turn chan struct{} // the kernel sends one message at a time
	// Guarded by turn.
	now      firmware
	launched snp.TCBParts
	script   script
	last     time.Time // when the last request was served
}

// firmware is what an update changes.
type firmware struct {
	tcb   snp.TCBParts
	key   *ecdsa.PrivateKey
	certs []byte // the host's table
}

// NewProcessor starts a processor.
func NewProcessor(p TEEParams) (*Processor, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	key, err := parseKey(p.Key)
	if err != nil {
		return nil, err
	}
	proc := &Processor{
		params: p, turn: make(chan struct{}, 1), script: newScript(p.Faults), launched: p.TCB,
		now: firmware{tcb: p.TCB, key: key, certs: hostCerts(p.Chain, p.VLEK)},
	}
	if u := p.Upgrade; u != nil {
		if key, err = parseKey(u.Key); err != nil {
			return nil, err
		}
		proc.upgraded = firmware{tcb: u.TCB, key: key, certs: hostCerts(u.Chain, p.VLEK)}
	}
	if _, err := rand.Read(proc.reportID[:]); err != nil {
		return nil, fmt.Errorf("make report id: %w", err)
	}
	return proc, nil
}

// HoldScript keeps the fault script from beginning until StartScript: what is asked before then is not counted and meets no fault.
func (p *Processor) HoldScript() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.script.held = true
}

// StartScript lets the fault script begin with the next request.
func (p *Processor) StartScript() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.script.held = false
}

// answer is what one request comes to.
type answer struct {
	report []byte
	certs  []byte
	key    [32]byte
	status uint32 // the firmware's

	errno syscall.Errno // why the kernel has no answer
	vmm   uint32        // and the hypervisor's code that came with it
	need  uint32        // for "length": the room that the host wants
	race  bool          // another writer comes now
}

// failed is an answer that the kernel could not get.
func failed(errno syscall.Errno, vmm uint32) answer { return answer{errno: errno, vmm: vmm} }

// anyRoom is for the interface whose caller gives no room for certificates: the kernel takes as many as it ever does.
const anyRoom = sevguest.MaxCertsLen

// report serves one report request, with at most room bytes of certificates, or none of them when room is nil.
func (p *Processor) report(ctx context.Context, data [64]byte, vmpl uint32, room *uint32) answer {
	return p.alone(ctx, data[:], func(e effects) answer {
		var a answer
		if room != nil {
			table, need := e.table(p.now.certs)
			if need > *room {
				return answer{errno: syscall.EIO, vmm: sevguest.VMMErrLength, need: need}
			}
			a.certs = table
		}
		if vmpl > 3 || vmpl < p.params.VMPLFloor {
			a.status = sevguest.StatusInvalid
			return a
		}
		report, err := signReport(p.fill(data, vmpl), p.now.key)
		if err != nil {
			return failed(syscall.EIO, 0)
		}
		a.report, a.race = e.spoil(report), e.race
		return a
	})
}

// derivedKey serves one key request.
func (p *Processor) derivedKey(ctx context.Context, req sevguest.DerivedKeyReq) answer {
	return p.alone(ctx, nil, func(effects) answer {
		var a answer
		a.key, a.status = p.derive(req)
		return a
	})
}

// alone serves one request after those before it, and after what host and script have to say first.
func (p *Processor) alone(ctx context.Context, data []byte, serve func(effects) answer) answer {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return failed(syscall.EINTR, 0)
	}
	e := p.script.next(data)
	switch {
	case e.wiped:
		return failed(syscall.ENOTTY, 0)
	case e.broken:
		p.script.wiped = true
		return failed(syscall.EIO, 0)
	}
	if e.upgraded && p.now.key != p.upgraded.key {
		certs := p.now.certs
		p.now = p.upgraded
		if e.lag {
			p.now.certs = certs
		}
	} else if e.upgraded && !e.lag {
		p.now.certs = p.upgraded.certs // the host caught up
	}
	if errno := e.wait(ctx, p.last); errno != 0 {
		return failed(errno, sevguest.VMMErrBusy)
	}
	defer func() { p.last = time.Now() }()
	return serve(e)
}
