package entry

import (
	"math/rand/v2"
	"strings"
)

// RaceEnabled is raceEnabled for the tests outside.
const RaceEnabled = raceEnabled

// PlainTexts are texts that Read takes for plain: the written cases, and what mutations leave plain.
func PlainTexts() []string {
	const seed, runs = 5, 400
	rng := rand.New(rand.NewPCG(seed, seed))
	var texts []string
	for _, c := range plainCases() {
		texts = append(texts, c.text)
	}
	small := strings.Replace(base, `[{"id":"a","command":["/bin/a"],"signals":[9]}]`, "[]", 1)
	for range runs {
		text := mutate(rng, small)
		if _, err := Read([]byte(text), points); err == nil {
			texts = append(texts, text)
		}
	}
	return texts
}
