package compiled

import "errors"

// tableID names one table of the policy state (policy contract, section 1.4).
type tableID int

const (
	tableDevices tableID = iota
	tableRWDevices
	tableScratch
	tableMatches
	tableOverlays
	tableStarted
	tablePlan9
	tables
)

var tableNames = [tables]string{"devices", "rw_devices", "scratch_mounts", "matches", "overlayTargets", "started", "p9mounts"}

// value is what an entry holds: a root hash or container id (text), encrypted or privileged (flag), or the containers an id can
// still be (set). Two values are the same when they compare equal.
type value struct {
	text string
	flag bool
	set  *candidates
}

// state is everything a verdict can rest on besides the policy itself.
type state struct {
	tables [tables]map[string]value
	// ids counts changes of which containers have matches.
	ids uint64
	// generation counts changes of what is no entry: default mounts, the policy's data.
	generation uint64
}

// slot is an entry as it was when it was read: absent, or with a value.
type slot struct {
	present bool
	value   value
}

type entryRead struct {
	table tableID
	key   string
	slot  slot
}

type edit struct {
	table         tableID
	key           string
	before, after slot
}

func (s *state) at(table tableID, key string) slot {
	v, ok := s.tables[table][key]
	return slot{present: ok, value: v}
}

func (s *state) put(table tableID, key string, to slot) {
	t := s.tables[table]
	if t == nil {
		t = map[string]value{}
		s.tables[table] = t
	}
	if table == tableMatches && (to.present != s.at(table, key).present) {
		s.ids++
	}
	if !to.present {
		delete(t, key)
		return
	}
	t[key] = to.value
}

// get reads an entry and remembers that the verdict rests on it.
func (q *question) get(table tableID, key string) slot {
	s := q.judge.state.at(table, key)
	if q.reads == nil {
		q.reads = q.readSpace[:0]
	}
	q.reads = append(q.reads, entryRead{table, key, s})
	return s
}

// set makes an edit of an entry that get has read.
func (q *question) set(table tableID, key string, to slot) edit {
	return edit{table: table, key: key, before: q.judge.state.at(table, key), after: to}
}

func (q *question) add(table tableID, key string, v value) edit {
	return q.set(table, key, slot{present: true, value: v})
}

func (q *question) remove(table tableID, key string) edit { return q.set(table, key, slot{}) }

// pending is the change of one allowed verdict, with what the verdict rests on.
type pending struct {
	judge      *Judge
	reads      []entryRead
	edits      []edit
	generation uint64
	ids        uint64
	allMatches bool
}

func (q *question) change(edits ...edit) *pending {
	return &pending{
		judge: q.judge, reads: q.reads, edits: edits,
		generation: q.generation, ids: q.judge.state.ids, allMatches: q.allMatches,
	}
}

// Commit implements point.Pending. A verdict on one container does not become stale by a change on another.
func (p *pending) Commit() (undo func() error, err error) {
	j := p.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	stale := j.state.generation != p.generation || p.allMatches && j.state.ids != p.ids
	for i := range p.reads {
		r := &p.reads[i]
		stale = stale || j.state.at(r.table, r.key) != r.slot
	}
	if stale {
		return nil, errors.New("the verdict is stale, the policy state changed since")
	}
	for _, e := range p.edits {
		j.state.put(e.table, e.key, e.after)
	}
	return p.takeBack, nil
}

func (p *pending) takeBack() error {
	j := p.judge
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range p.edits {
		if j.state.at(e.table, e.key) != e.after {
			return errors.New("an entry that the change touched was changed since")
		}
	}
	for _, e := range p.edits {
		j.state.put(e.table, e.key, e.before)
	}
	return nil
}
