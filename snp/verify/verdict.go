package verify

// Field is one check: what was found, what was wanted, whether they agree.
type Field struct {
	Name string `json:"name"`
	Got  string `json:"got"`
	Want string `json:"want"`
	OK   bool   `json:"ok"`
}

// Verdict is the outcome. OK is true only if there is at least one field and every field is right.
type Verdict struct {
	OK      bool    `json:"ok"`
	Product string  `json:"product,omitempty"`
	Signer  string  `json:"signer,omitempty"` // subject of the endorsement key's certificate
	Root    string  `json:"root,omitempty"`   // subject of the anchor it chains to
	Fields  []Field `json:"fields"`
}

// Refused lists the fields that are not right.
func (v *Verdict) Refused() []Field {
	var bad []Field
	for _, f := range v.Fields {
		if !f.OK {
			bad = append(bad, f)
		}
	}
	return bad
}

func (v *Verdict) add(name, got, want string, ok bool) bool {
	v.Fields = append(v.Fields, Field{Name: name, Got: got, Want: want, OK: ok})
	return ok
}

// close settles the verdict.
func (v *Verdict) close() *Verdict {
	v.OK = len(v.Fields) > 0 && len(v.Refused()) == 0
	return v
}
