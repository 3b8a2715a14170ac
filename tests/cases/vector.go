package cases

import (
	"bytes"
	"encoding/json"

	"github.com/cloister-cc/cloister/enforcer"
)

type vectorCommand struct {
	Name  enforcer.Point `json:"name"`
	Input enforcer.Input `json:"input"`
}

// MarshalJSON writes a case in the form of the recorded cases in tests/vectors/aci, without answers. It is what
// `cloister policy simulate` reads, but for the policy.
func (c Case) MarshalJSON() ([]byte, error) {
	doc := struct {
		Policy   string          `json:"policy"`
		Commands []vectorCommand `json:"commands"`
	}{c.Policy, make([]vectorCommand, len(c.Commands))}
	for i, cmd := range c.Commands {
		doc.Commands[i] = vectorCommand{Name: cmd.Point, Input: cmd.Input}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Until is the case cut after command i: what is needed to see its answer again.
func (c Case) Until(i int) Case {
	c.Commands = c.Commands[:i+1]
	return c
}
