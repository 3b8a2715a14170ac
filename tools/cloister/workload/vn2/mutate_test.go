package vn2

import (
	"math/rand/v2"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape/shapetest"
	"github.com/cloister-cc/cloister/tools/cloister/workload/yamltree"
)

// Documents that are like real ones, in blocks, in braces and in a mix of both: what is read and what is written hold.
func FuzzMutated(f *testing.F) {
	shop, err := yamltree.Parse(file(f, "shop.yaml").Data)
	if err != nil {
		f.Fatal(err)
	}
	all, err := yamltree.Parse([]byte(effects + configMapText + secretText))
	if err != nil {
		f.Fatal(err)
	}
	docs := append(shop.Documents, all.Documents...)
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		var parts []string
		for range 1 + r.IntN(3) {
			n := shapetest.Mutate(docs[r.IntN(len(docs))], r)
			text := shapetest.Layout(n, r, false)
			if strings.Contains(string(text), "\t") || r.IntN(3) > 0 {
				block, err := yaml.JSONToYAML(jsontree.Encode(n))
				if err != nil {
					t.Fatal(err)
				}
				text = block
			}
			parts = append(parts, string(text))
		}
		doc := workload.Document{Name: "p.yaml", Data: []byte(strings.Join(parts, "\n---\n"))}
		groups, err := Read(t.Context(), doc)
		if err != nil {
			if groups != nil {
				t.Fatal("an error came with groups")
			}
			return
		}
		checkInsert(t, doc, groups)
	})
}
