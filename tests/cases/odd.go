package cases

// oddContainer is a container as no tool writes it: one thing in it is missing, null, of another type or unknown.
func oddContainer(s *source, d document) any {
	switch s.IntN(30) {
	case 0:
		return pick[any](s, "container", 1, nil, true, []any{})
	case 1:
		d["unknown_field"] = pick[any](s, 1, "x", document{"a": []any{1}})
		return d
	case 2:
		d["ALLOW_ELEVATED"] = true
		return d
	case 3, 4, 5:
		d["command"] = nil
		return d
	case 6, 7, 8:
		inner(s, d, "env_rules")
		return d
	case 9, 10:
		inner(s, d, "mounts")
		return d
	case 11, 12:
		inner(s, d, "exec_processes")
		return d
	case 13, 14, 15:
		if u, ok := d["user"].(document); ok {
			spoil(s, u)
		}
		return d
	case 16:
		d["signals"] = pick[any](s, []any{9.0, 15}, []any{"9"}, []any{9, "15", nil}, []any{1e1}, "9")
		return d
	case 17:
		d["layers"] = pick[any](s, []any{}, []any{1}, []any{nil}, d["layers"].([]string)[0])
		return d
	case 18:
		if d["capabilities"] != nil {
			d["capabilities"] = pick[any](s, document{"bounding": []any{"CAP_KILL"}}, document{}, []any{}, "all")
		}
		return d
	}
	spoil(s, d)
	return d
}

// inner spoils one entry of a list.
func inner(s *source, d document, field string) {
	entries, _ := d[field].([]any)
	if len(entries) == 0 {
		return
	}
	i := s.IntN(len(entries))
	if e, ok := entries[i].(document); ok && !s.chance(10) {
		spoil(s, e)
		return
	}
	entries[i] = pick[any](s, nil, 1, "x", []any{})
}

// spoil changes one field of an object.
func spoil(s *source, d document) {
	list := keys(d)
	if len(list) == 0 {
		return
	}
	field := pick(s, list...)
	switch s.IntN(4) {
	case 0, 1:
		delete(d, field)
	case 2:
		d[field] = nil
	case 3:
		d[field] = pick[any](s, 1, "x", true, []any{}, []any{"x"}, document{}, -0.5, "", []any{[]any{}})
	}
}

func oddFlag(s *source, opt Options, set bool) string {
	if opt.Odd && s.chance(4) {
		return pick(s, `"true"`, "1", "null", "[]", "input.allowed")
	}
	if set {
		return "true"
	}
	return "false"
}
