package emulator

import (
	"fmt"
	"strconv"
	"strings"
)

// FaultUsage says how ParseFault wants a fault written.
const FaultUsage = "KIND[,after=N][,count=N][,times=N][,wait=MS][,bit=N]"

// ParseFault reads one line of a fault script as people write it, such as "busy,after=3,times=31".
func ParseFault(text string) (Fault, error) {
	kind, rest, more := strings.Cut(text, ",")
	f := Fault{Kind: FaultKind(kind)}
	fields := map[string]*uint32{"after": &f.After, "count": &f.Count, "times": &f.Times, "wait": &f.WaitMS, "bit": &f.Bit}
	for more {
		var setting string
		setting, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(setting, "=")
		to, ok := fields[name]
		if !ok {
			return Fault{}, fmt.Errorf("fault %.80q: got %.40q, want %s", text, setting, FaultUsage)
		}
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return Fault{}, fmt.Errorf("fault %.80q: %s: got %.40q, want a number", text, name, value)
		}
		*to = uint32(n)
		delete(fields, name) // twice is a mistake
	}
	if err := f.check(); err != nil {
		return Fault{}, fmt.Errorf("fault %.80q: %w", text, err)
	}
	return f, nil
}

// Play puts a fault script into parameters. For a script that updates the firmware it endorses the same processor with the next SNP version.
func (a *Authority) Play(p *TEEParams, script []Fault) error {
	p.Faults = script
	for _, f := range script {
		if f.Kind != FaultTCBUpgrade || p.Upgrade != nil {
			continue
		}
		to := p.TCB
		to.SNP++
		var err error
		if p.Upgrade, err = a.Upgrade(*p, to); err != nil {
			return err
		}
	}
	return p.check()
}
