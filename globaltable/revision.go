package globaltable

// A Revision stands for the answers that a table gives; see [Table.Revision].
// Two of one table are compared by ==.
type Revision struct {
	view, n uint64 // numbers: a pointer would keep an old generation's rows in memory
}

// Revision says whether lookups may give something else by now: rows that were
// looked up after a Revision was taken are what a lookup gives for as long as the
// same Revision is returned. So a program can keep what it has made of rows, and
// need not look them up again while the table rests; [join] does.
//
// Any change gives the table another Revision, be it of a row that matters or not,
// and so does a rebuild. A table that cannot answer has the zero Revision: look up
// to learn why. It takes no lock.
//
// [join]: https://pkg.go.dev/github.com/globaltable/enrich/join
func (t *Table[K, V]) Revision() Revision {
	v := t.e.view.Load()
	if v.gen == nil {
		return Revision{}
	}
	return Revision{view: v.number, n: v.gen.Revision()}
}
