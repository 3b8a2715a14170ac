package compiled

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

// document is a container definition as encoding/json's generic types, as the engine shows it in a reason.
func document(c *container) any {
	doc, err := ast.JSON(c.Value())
	if err != nil {
		return nil
	}
	return doc
}

// Metadata is the whole state as the framework keeps it (policy contract, section 1.4), as encoding/json's generic types. Empty
// tables are left out.
func (j *Judge) Metadata() map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := map[string]any{}
	for id, table := range j.state.tables {
		if len(table) == 0 {
			continue
		}
		entries := make(map[string]any, len(table))
		for key, v := range table {
			entries[key] = stateValue(tableID(id), v)
		}
		out[tableNames[id]] = entries
	}
	return out
}

func stateValue(table tableID, v value) any {
	switch table {
	case tableDevices, tablePlan9:
		return v.text
	case tableScratch:
		return map[string]any{"encrypted": v.flag}
	case tableStarted:
		return map[string]any{"privileged": v.flag}
	case tableMatches:
		list := make([]any, len(v.set.members))
		for i, c := range v.set.members {
			list[i] = document(c)
		}
		return list
	}
	return true
}
