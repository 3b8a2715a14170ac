package measure

import (
	"fmt"
	"slices"
	"strings"
)

// CPU is a processor's CPUID signature: family, model and stepping as CPUID Fn0000_0001_EAX has them. QEMU puts it into RDX of a new processor, so
// it is measured.
type CPU uint32

// Signature packs a family (0 to 270), model (0 to 255) and stepping (0 to 15) as AMD's CPUID specification (publication 25481) says.
func Signature(family, model, stepping int) (CPU, error) {
	for _, p := range []struct {
		name      string
		got, most int
	}{{"family", family, 0xF + 0xFF}, {"model", model, 0xFF}, {"stepping", stepping, 0xF}} {
		if p.got < 0 || p.got > p.most {
			return 0, fmt.Errorf("cpu %s: got %d, want 0 to %d", p.name, p.got, p.most)
		}
	}
	return signature(family, model, stepping), nil
}

func signature(family, model, stepping int) CPU {
	base := min(family, 0xF)
	return CPU((family-base)<<20 | model>>4<<16 | base<<8 | model&0xF<<4 | stepping)
}

// cpuType is a model by QEMU's name. Its versions, from v1 on, differ in features, never in the signature.
type cpuType struct {
	name     string
	cpu      CPU
	versions int
}

var cpuTypes = []cpuType{
	{"EPYC", signature(0x17, 0x01, 2), 5},
	{"EPYC-Rome", signature(0x17, 0x31, 0), 5},
	{"EPYC-Milan", signature(0x19, 0x01, 1), 3},
	{"EPYC-Genoa", signature(0x19, 0x11, 0), 2},
	{"EPYC-Turin", signature(0x1A, 0x00, 0), 1},
}

func (t cpuType) names() []string {
	out := []string{t.name}
	for v := range t.versions {
		out = append(out, fmt.Sprintf("%s-v%d", t.name, v+1))
	}
	if t.name == "EPYC" {
		out = append(out, "EPYC-IBPB") // an old name of EPYC-v2
	}
	return out
}

// DefaultCPUType is the model that this project's launches use.
const DefaultCPUType = "EPYC-v4"

// CPUType returns the signature of one of QEMU's processor models: EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin, a version of one of them
// (EPYC-v4) or EPYC-IBPB.
func CPUType(name string) (CPU, error) {
	for _, t := range cpuTypes {
		if slices.Contains(t.names(), name) {
			return t.cpu, nil
		}
	}
	return 0, fmt.Errorf("cpu type: got %.64q, want one of %s", name, strings.Join(CPUTypes(), ", "))
}

// CPUTypes lists the names that CPUType knows.
func CPUTypes() []string {
	var out []string
	for _, t := range cpuTypes {
		out = append(out, t.names()...)
	}
	return out
}
