package join

import "errors"

// Opt configures a join. Options are applied in order; of two that set the same
// thing the later one counts.
type Opt interface{ apply(*config) }

type opt func(*config)

func (o opt) apply(c *config) { o(c) }

// Name names the join where there are several in one chain: its stage, in errors
// and dead letters, is name, and its drops are counted under name, a slash and
// the reason, such as "rooms/no-match". By default the stage is "join" and the
// reasons stand alone.
func Name(name string) Opt {
	return opt(func(c *config) { c.name, c.named = name, true })
}

// Reasons under which a join counts the records that it drops, in the Dropped of
// stream.Stats and for stream.HookDrop. See [Name] for several joins.
const (
	// DropNullValue: the record's value is null. Inner and left.
	DropNullValue = "null-value"
	// DropNoKey: the key function returned false. Inner only.
	DropNoKey = "no-key"
	// DropNoMatch: the table has no row of that key. Inner only.
	DropNoMatch = "no-match"
)

type config struct {
	left  bool
	name  string
	named bool
}

func newConfig(left bool, opts []Opt) config {
	c := config{left: left}
	for _, o := range opts {
		if o != nil {
			o.apply(&c)
		}
	}
	return c
}

func (c *config) validate() error {
	if c.named && c.name == "" {
		return errors.New("join: Name needs a name; leave it out for the default")
	}
	return nil
}

// kind is the function that the join was made by.
func (c *config) kind() string {
	if c.left {
		return "Left"
	}
	return "Inner"
}

// stage is the join's name in errors.
func (c *config) stage() string {
	if c.name == "" {
		return "join"
	}
	return c.name
}

// reason is what a drop is counted under.
func (c *config) reason(reason string) string {
	if c.name == "" {
		return reason
	}
	return c.name + "/" + reason
}
