package compiled

import "github.com/cloister-cc/cloister/enforcer/entry"

// Possible are the containers that an id can still be. ok is false when the id was not created, or has been shut down.
func (j *Judge) Possible(id string) (list []*entry.Container, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	matches := j.state.at(tableMatches, id)
	if !j.state.at(tableStarted, id).present || !matches.present {
		return nil, false
	}
	for _, m := range matches.value.set.members {
		list = append(list, m.Container)
	}
	return list, true
}
