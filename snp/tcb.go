package snp

import (
	"fmt"
	"strings"
)

// TCB is a firmware security version as it stands in a report. What its bytes mean depends on the product line.
type TCB [8]byte

// TCBParts are the named parts of a TCB. FMC exists on Turin only.
type TCBParts struct{ FMC, BootLoader, TEE, SNP, Microcode uint8 }

// Parts reads a TCB in a product line's layout: Turin put the FMC version first and moved the others up by one byte. Bytes without
// meaning must be zero.
func (t TCB) Parts(line Line) (TCBParts, error) {
	p, used := TCBParts{BootLoader: t[0], TEE: t[1], SNP: t[6], Microcode: t[7]}, TCB{0: t[0], 1: t[1], 6: t[6], 7: t[7]}
	if line == Turin {
		p, used = TCBParts{FMC: t[0], BootLoader: t[1], TEE: t[2], SNP: t[3], Microcode: t[7]}, TCB{0: t[0], 1: t[1], 2: t[2], 3: t[3], 7: t[7]}
	}
	if t != used {
		return TCBParts{}, fmt.Errorf("tcb %x: got bytes without meaning on %s, want zero", t[:], line)
	}
	return p, nil
}

// Bytes is the inverse of TCB.Parts.
func (p TCBParts) Bytes(line Line) TCB {
	if line == Turin {
		return TCB{0: p.FMC, 1: p.BootLoader, 2: p.TEE, 3: p.SNP, 7: p.Microcode}
	}
	return TCB{0: p.BootLoader, 1: p.TEE, 6: p.SNP, 7: p.Microcode}
}

// AtLeast says that no part is older than in floor: parts are versions of different programs, a newer one does not make up for an older.
func (p TCBParts) AtLeast(floor TCBParts) bool {
	return p.FMC >= floor.FMC && p.BootLoader >= floor.BootLoader && p.TEE >= floor.TEE && p.SNP >= floor.SNP && p.Microcode >= floor.Microcode
}

func (p TCBParts) String() string {
	return fmt.Sprintf("fmc=%d bl=%d tee=%d snp=%d ucode=%d", p.FMC, p.BootLoader, p.TEE, p.SNP, p.Microcode)
}

// Line is a product line: processors that share a root certificate and a TCB layout.
type Line string

// The product lines known.
const (
	Milan Line = "Milan"
	Genoa Line = "Genoa"
	Turin Line = "Turin"
)

// Product is a kind of processor: its name, and the line whose root signs for it.
type Product struct {
	Name string
	Line Line
}

// cpuProducts maps family and model to the product. Bergamo and Siena have one model range and Genoa's root, Turin Dense has Turin's.
var cpuProducts = []struct {
	family, first, last uint8
	product             Product
}{
	{0x19, 0x00, 0x0F, Product{"Milan", Milan}},
	{0x19, 0x10, 0x1F, Product{"Genoa", Genoa}},
	{0x19, 0xA0, 0xAF, Product{"Siena", Genoa}},
	{0x1A, 0x00, 0x0F, Product{"Turin", Turin}},
	{0x1A, 0x10, 0x1F, Product{"Turin-Dense", Turin}},
}

// productAliases are other names of a row above: Bergamo cannot be told from Siena by its model.
var productAliases = map[string]string{"Bergamo": "Siena", "Turin Dense": "Turin-Dense"}

// ProductOf finds a processor's product.
func ProductOf(c CPUID) (Product, error) {
	for _, p := range cpuProducts {
		if c.Family == p.family && c.Model >= p.first && c.Model <= p.last {
			return p.product, nil
		}
	}
	return Product{}, fmt.Errorf("processor %s: not a product known here", c)
}

// ProductNamed finds a product by name: Milan, Genoa, Siena (or Bergamo, which has its models), Turin, Turin-Dense.
func ProductNamed(name string) (Product, error) {
	if other, ok := productAliases[name]; ok {
		name = other
	}
	for _, p := range cpuProducts {
		if p.product.Name == name {
			return p.product, nil
		}
	}
	return Product{}, fmt.Errorf("product %.32q: not one known here", name)
}

// LineOf finds a processor's line.
func LineOf(c CPUID) (Line, error) {
	p, err := ProductOf(c)
	return p.Line, err
}

// LineNamed finds the line of a certificate's product name, such as "Milan-B0" or "Genoa".
func LineNamed(product string) (Line, error) {
	name, _, _ := strings.Cut(product, "-")
	switch l := Line(name); l {
	case Milan, Genoa, Turin:
		return l, nil
	case "Bergamo", "Siena":
		return Genoa, nil
	}
	return "", fmt.Errorf("product %.32q: not a product line known here", product)
}
