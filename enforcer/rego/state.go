package rego

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/cloister-cc/cloister/enforcer/point"
)

// snapshot is one immutable state of everything a policy can read as data: the fixed documents and the metadata tables.
// A decision is made in one snapshot; committing it replaces the snapshot, so readers never see half a change.
type snapshot struct {
	fixed    map[string]ast.Value
	metadata map[string]ast.Value
	// program is the code that judges in this state, kept are the packages that fragments added to it, by namespace.
	program *program
	kept    map[string]*keptModule
	// origins say where what fragments added is from; what was taken back stays here and is found by nobody.
	origins []origin
	// born is data.metadata.issuers as it was when a container got its candidates, by the container's id: they are of these lists.
	born map[string]ast.Value
}

// with returns a copy whose tables the caller may replace, one by one; s itself stays as it is.
func (s *snapshot) with(metadata map[string]ast.Value) *snapshot {
	next := *s
	next.metadata = make(map[string]ast.Value, len(metadata)+1)
	for name, table := range metadata {
		next.metadata[name] = table
	}
	return &next
}

// withFixed returns a copy with one fixed document more, or without it when v is nil.
func (s *snapshot) withFixed(name string, v ast.Value) *snapshot {
	next := *s
	next.fixed = make(map[string]ast.Value, len(s.fixed)+1)
	for n, doc := range s.fixed {
		next.fixed[n] = doc
	}
	if next.fixed[name] = v; v == nil {
		delete(next.fixed, name)
	}
	return &next
}

// operation is one change of the metadata, as a rule's answer asks for it.
type operation struct {
	name   string
	action string
	set    bool
	key    *ast.Term
	value  *ast.Term
}

// undoEntry is what an operation changed, as it was before and as the operation left it.
type undoEntry struct {
	name string
	set  bool
	// created is set when the operation made the table or set.
	created bool
	// key is nil for a set.
	key           *ast.Term
	before, after *ast.Term
}

func parseOperations(v ast.Value) ([]operation, error) {
	var terms []*ast.Term
	switch list := v.(type) {
	case *ast.Array:
		list.Foreach(func(t *ast.Term) { terms = append(terms, t) })
	case ast.Set:
		terms = list.Slice()
	default:
		return nil, fmt.Errorf("metadata: got %s, want an array of operations", ast.ValueName(v))
	}
	ops := make([]operation, 0, len(terms))
	for i, t := range terms {
		op, err := parseOperation(t.Value)
		if err != nil {
			return nil, fmt.Errorf("metadata operation %d: %w", i, err)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// parseOperation reads one operation. Its errors repeat nothing of it: a policy can build any part from the request, whose values are not for
// the host.
func parseOperation(v ast.Value) (operation, error) {
	obj, ok := v.(ast.Object)
	if !ok {
		return operation{}, fmt.Errorf("got %s, want an object", ast.ValueName(v))
	}
	name, ok := stringMember(obj, "name")
	if !ok || name == "" {
		return operation{}, errors.New("name is not a string")
	}
	action, ok := stringMember(obj, "action")
	if !ok {
		return operation{}, errors.New("action is not a string")
	}
	op := operation{name: name, action: action, value: plainTerm(member(obj, "value"))}
	switch kind, _ := stringMember(obj, "type"); {
	case member(obj, "type") == nil || kind == "map":
	case kind == "set":
		op.set = true
	default:
		return operation{}, errors.New("type: got something else, want map or set")
	}
	return op, op.check(obj)
}

func (op *operation) check(obj ast.Object) error {
	if op.set {
		if op.action != "add" && op.action != "remove" {
			return errors.New("action on a set: got something else, want add or remove")
		}
		if op.value == nil || member(obj, "key") != nil {
			return fmt.Errorf("%s to a set: want a value and no key", op.action)
		}
		return nil
	}
	key, ok := stringMember(obj, "key")
	if !ok {
		return errors.New("key is not a string")
	}
	op.key = ast.StringTerm(key)
	switch op.action {
	case "remove":
		return nil
	case "add", "update":
		if op.value == nil {
			return fmt.Errorf("%s: value is missing", op.action)
		}
		return nil
	}
	return errors.New("action: got something else, want add, update or remove")
}

// apply returns the snapshot after ops, and what to put back to undo them. Either all operations hold or none does.
func (s *snapshot) apply(ops []operation) (*snapshot, []undoEntry, error) {
	next := s.with(s.metadata)
	undo := make([]undoEntry, 0, len(ops))
	for _, op := range ops {
		_, existed := next.metadata[op.name]
		entry, err := next.applyOne(op)
		if err != nil {
			return nil, nil, err
		}
		entry.created = !existed
		undo = append(undo, entry)
	}
	return next, undo, nil
}

func (s *snapshot) applyOne(op operation) (undoEntry, error) {
	if op.set {
		return s.applySet(op)
	}
	table, ok := s.table(op.name)
	if !ok {
		return undoEntry{}, errors.New("the table of the operation is a set, not a map")
	}
	before := table.Get(op.key)
	after := op.value
	switch op.action {
	case "add":
		if before != nil {
			return undoEntry{}, fmt.Errorf("cannot add metadata value, key %s[%s] already exists", op.name, point.Quote(string(op.key.Value.(ast.String))))
		}
	case "remove":
		after = nil
	}
	s.metadata[op.name] = withMember(table, op.key, after)
	if op.name == tableMatches && op.action == "add" {
		s.born = maps.Clone(s.born)
		if s.born == nil {
			s.born = map[string]ast.Value{}
		}
		s.born[string(op.key.Value.(ast.String))] = s.metadata[tableIssuers]
	}
	return undoEntry{name: op.name, key: op.key, before: before, after: after}, nil
}

func (s *snapshot) applySet(op operation) (undoEntry, error) {
	list, ok := s.list(op.name)
	if !ok {
		return undoEntry{}, errors.New("the table of the operation is a map, not a set")
	}
	var terms []*ast.Term
	found := false
	list.Foreach(func(t *ast.Term) {
		same := t.Equal(op.value)
		found = found || same
		if !same || op.action == "add" {
			terms = append(terms, t)
		}
	})
	if op.action == "add" && !found {
		terms = append(terms, op.value)
	}
	next := ast.NewArray(terms...)
	s.metadata[op.name] = next
	return undoEntry{name: op.name, set: true, before: ast.NewTerm(list), after: ast.NewTerm(next)}, nil
}

// revert puts entries back, last first. It answers false when something else changed a touched entry meanwhile: then the
// state before cannot be told from what came after, and nobody may go on.
func (s *snapshot) revert(entries []undoEntry) (*snapshot, bool) {
	next := s.with(s.metadata)
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		if e.set {
			if list, ok := next.list(e.name); !ok || !ast.NewTerm(list).Equal(e.after) {
				return nil, false
			}
			next.put(e, e.before.Value)
			continue
		}
		table, ok := next.table(e.name)
		if !ok || !sameTerm(table.Get(e.key), e.after) {
			return nil, false
		}
		next.put(e, withMember(table, e.key, e.before))
		if e.name == tableMatches && e.before == nil {
			next.born = maps.Clone(next.born)
			delete(next.born, string(e.key.Value.(ast.String)))
		}
	}
	return next, true
}

// put sets what an undone entry leaves; a table that the operation made and that is empty again was not there before.
func (s *snapshot) put(e undoEntry, left ast.Value) {
	if n, ok := left.(interface{ Len() int }); e.created && ok && n.Len() == 0 {
		delete(s.metadata, e.name)
		return
	}
	s.metadata[e.name] = left
}

func sameTerm(a, b *ast.Term) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a == b || a.Equal(b)
}

func (s *snapshot) table(name string) (ast.Object, bool) {
	v, ok := s.metadata[name]
	if !ok {
		return ast.NewObject(), true
	}
	table, ok := v.(ast.Object)
	return table, ok
}

func (s *snapshot) list(name string) (*ast.Array, bool) {
	v, ok := s.metadata[name]
	if !ok {
		return ast.NewArray(), true
	}
	list, ok := v.(*ast.Array)
	return list, ok
}

// withMember returns table with key set to value, or without key when value is nil. The table itself stays as it is: other
// snapshots share it.
func withMember(table ast.Object, key, value *ast.Term) ast.Object {
	items := make([][2]*ast.Term, 0, table.Len()+1)
	table.Foreach(func(k, v *ast.Term) {
		if !k.Equal(key) {
			items = append(items, [2]*ast.Term{k, v})
		}
	})
	if value != nil {
		items = append(items, [2]*ast.Term{key, value})
	}
	return ast.NewObject(items...)
}

// store lets the engine read a snapshot. It refuses everything else: a rule has no way to write.
type store struct {
	storage.TriggersNotSupported
	storage.PolicyNotSupported
	storage.WritesNotSupported
	snapshot *snapshot
}

type readTransaction struct{}

func (readTransaction) ID() uint64 { return 0 }

func (st store) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return readTransaction{}, nil
}

func (st store) Commit(context.Context, storage.Transaction) error { return nil }

func (st store) Abort(context.Context, storage.Transaction) {}

func (st store) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return errors.New("the policy state is read-only")
}

// Read walks to the document at path without building the documents above it.
func (st store) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	if len(path) == 0 {
		return st.snapshot.all(), nil
	}
	at, rest := ast.Value(nil), path[1:]
	if path[0] == "metadata" {
		if len(rest) == 0 {
			return st.snapshot.metadataObject(), nil
		}
		at, rest = st.snapshot.metadata[rest[0]], rest[1:]
	} else {
		at = st.snapshot.fixed[path[0]]
	}
	for _, key := range rest {
		term := element(at, key)
		if term == nil {
			return nil, notFound(path)
		}
		at = term.Value
	}
	if at == nil {
		return nil, notFound(path)
	}
	return at, nil
}

// element is one step down. The engine spells array positions as decimal text here.
func element(v ast.Value, key string) *ast.Term {
	switch v := v.(type) {
	case ast.Object:
		return v.Get(ast.StringTerm(key))
	case *ast.Array:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < v.Len() {
			return v.Elem(i)
		}
	}
	return nil
}

func notFound(path storage.Path) error {
	return &storage.Error{Code: storage.NotFoundErr, Message: path.String()}
}

func (s *snapshot) metadataObject() ast.Object {
	return objectOf(s.metadata)
}

func objectOf(members map[string]ast.Value) ast.Object {
	fields := make([]field, 0, len(members))
	for name, v := range members {
		fields = append(fields, field{name, v})
	}
	return object(fields...)
}

func (s *snapshot) all() ast.Object {
	fields := []field{{"metadata", s.metadataObject()}}
	for name, v := range s.fixed {
		fields = append(fields, field{name, v})
	}
	return object(fields...)
}

// plainTerm is t as a JSON document: state is data, and data has neither sets nor keys that are no strings. Parts that are
// plain already stay shared; a container definition is not copied for every state it appears in.
func plainTerm(t *ast.Term) *ast.Term {
	if t == nil {
		return nil
	}
	switch v := t.Value.(type) {
	case ast.Set:
		terms := v.Slice()
		for i := range terms {
			terms[i] = plainTerm(terms[i])
		}
		return ast.ArrayTerm(terms...)
	case *ast.Array:
		terms, changed := make([]*ast.Term, 0, v.Len()), false
		v.Foreach(func(e *ast.Term) {
			p := plainTerm(e)
			changed = changed || p != e
			terms = append(terms, p)
		})
		if changed {
			return ast.ArrayTerm(terms...)
		}
	case ast.Object:
		items, changed := make([][2]*ast.Term, 0, v.Len()), false
		v.Foreach(func(k, e *ast.Term) {
			p, key := plainTerm(e), k
			if _, ok := k.Value.(ast.String); !ok {
				key = ast.StringTerm(k.String())
			}
			changed = changed || p != e || key != k
			items = append(items, [2]*ast.Term{key, p})
		})
		if changed {
			return ast.NewTerm(ast.NewObject(items...))
		}
	}
	return t
}

func member(obj ast.Object, key string) *ast.Term { return obj.Get(ast.InternedTerm(key)) }

func stringMember(obj ast.Object, key string) (string, bool) {
	t := member(obj, key)
	if t == nil {
		return "", false
	}
	s, ok := t.Value.(ast.String)
	return string(s), ok
}
