package emulator

import (
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/snp"
)

// Identity is the make-believe processor: what the endorsement key's certificate and its reports say of it.
type Identity struct {
	Line snp.Line
	// CPU is the family, model and stepping that reports of version 3 and later name; zero is the line's own processor.
	CPU  snp.CPUID
	TCB  snp.TCBParts
	VLEK bool // endorsed for a cloud provider instead of a chip
	// ReportVersion is 2 to 5; zero is what the line's firmware makes: 5 on Turin, else 3.
	ReportVersion uint32
}

// product is a processor with a name that people know it by.
type product struct {
	name string
	line snp.Line
	cpu  snp.CPUID
	tcb  snp.TCBParts
}

// products are the processors known, the first of each line being its own.
var products = []product{
	{"Milan", snp.Milan, snp.CPUID{Family: 0x19, Model: 0x01, Stepping: 1}, snp.TCBParts{BootLoader: 4, TEE: 0, SNP: 24, Microcode: 219}},
	{"Genoa", snp.Genoa, snp.CPUID{Family: 0x19, Model: 0x11, Stepping: 1}, snp.TCBParts{BootLoader: 10, TEE: 0, SNP: 23, Microcode: 84}},
	{"Siena", snp.Genoa, snp.CPUID{Family: 0x19, Model: 0xA0, Stepping: 2}, snp.TCBParts{BootLoader: 10, TEE: 0, SNP: 23, Microcode: 25}},
	{"Turin", snp.Turin, snp.CPUID{Family: 0x1A, Model: 0x02, Stepping: 1}, snp.TCBParts{FMC: 1, BootLoader: 2, TEE: 1, SNP: 4, Microcode: 75}},
	{"Turin-Dense", snp.Turin, snp.CPUID{Family: 0x1A, Model: 0x11, Stepping: 0}, snp.TCBParts{FMC: 1, BootLoader: 2, TEE: 1, SNP: 4, Microcode: 81}},
}

// Products lists the names that IdentityOf takes.
func Products() []string {
	var names []string
	for _, p := range products {
		names = append(names, p.name)
	}
	return names
}

// IdentityOf returns a processor by its name, whatever the case: a VCEK, and the report version of its line.
func IdentityOf(name string) (Identity, error) {
	for _, p := range products {
		if strings.EqualFold(p.name, name) {
			return Identity{Line: p.line, CPU: p.cpu, TCB: p.tcb}, nil
		}
	}
	return Identity{}, fmt.Errorf("processor %.32q: want one of %s", name, strings.Join(Products(), ", "))
}

// DefaultIdentity is the make-believe processor that is used when nothing else is asked for.
func DefaultIdentity() Identity {
	return Identity{Line: snp.Genoa, TCB: snp.TCBParts{BootLoader: 10, TEE: 0, SNP: 23, Microcode: 84}}
}

// check refuses an identity that no processor has. Parameters may still be edited into one, for tests of what reads them.
func (id Identity) check() error {
	if _, ok := lineCPU(id.Line); !ok {
		return fmt.Errorf("identity: got product line %.32q, want Milan, Genoa or Turin", id.Line)
	}
	if id.CPU == (snp.CPUID{}) {
		return nil
	}
	if line, err := snp.LineOf(id.CPU); err != nil || line != id.Line {
		return fmt.Errorf("identity: got processor %s, want one of the line %s", id.CPU, id.Line)
	}
	return nil
}

// version is the report version asked for, or the line's.
func (id Identity) version() uint32 {
	switch {
	case id.ReportVersion != 0:
		return id.ReportVersion
	case id.Line == snp.Turin:
		return 5
	}
	return 3
}

// lineCPU is a line's own processor.
func lineCPU(line snp.Line) (snp.CPUID, bool) {
	for _, p := range products {
		if p.line == line {
			return p.cpu, true
		}
	}
	return snp.CPUID{}, false
}
