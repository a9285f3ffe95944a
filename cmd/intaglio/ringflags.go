package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
)

// ringSettings is a ring's settings as flags. A flag that was not given leaves the choice to the server.
type ringSettings struct {
	given *pflag.FlagSet

	typ, usage                     string
	algorithm, backend, protection string
	exact, prefixes                []string
	any                            bool
	defaultTTL, maxTTL             time.Duration
	lifetime, propagation, skew    time.Duration
	labels                         map[string]string
}

// settingOf says which setting of a ring a flag is part of: settings are replaced whole.
var settingOf = map[string]string{
	"algorithm": "algorithm", "backend": "backend", "min-protection": "min_protection",
	"audience": "audiences", "audience-prefix": "audiences", "any-audience": "audiences",
	"default-ttl": "default_ttl", "max-ttl": "max_ttl",
	"lifetime": "rotation", "propagation": "rotation", "skew": "rotation",
	"label": "labels",
}

func (s *ringSettings) flags(c *cobra.Command) {
	f := c.Flags()
	s.given = f
	f.StringVar(&s.algorithm, "algorithm", "", "of the next key: ES256 (default), ES384, ES512, RS256 .. RS512, PS256 .. PS512, EdDSA")
	f.StringVar(&s.backend, "backend", "", "`NAME` of the backend that makes the next key (default the only one there is)")
	f.StringVar(&s.protection, "min-protection", "", "the weakest the next key may have: software (default), remote, hsm")
	f.StringArrayVar(&s.exact, "audience", nil, "an `AUD` its tokens may be meant for; may be repeated")
	f.StringArrayVar(&s.prefixes, "audience-prefix", nil, "a `PREFIX` of audiences, such as https://tenants.example/; may be repeated")
	f.BoolVar(&s.any, "any-audience", false, "tokens may be meant for anybody, as ID tokens are")
	f.DurationVar(&s.defaultTTL, "default-ttl", 0, "how long tokens live when the caller does not say")
	f.DurationVar(&s.maxTTL, "max-ttl", 0, "how long tokens may live (default 1h)")
	f.DurationVar(&s.lifetime, "lifetime", 0, "how long a key signs (default 336h)")
	f.DurationVar(&s.propagation, "propagation", 0, "how long a key is published before it signs (default 24h)")
	f.DurationVar(&s.skew, "skew", 0, "how far clocks may differ (default 60s)")
	f.StringToStringVar(&s.labels, "label", nil, "notes of your own, as `NAME=VALUE`; may be repeated")
}

// originFlags are those that never change after.
func (s *ringSettings) originFlags(c *cobra.Command) {
	c.Flags().StringVar(&s.typ, "typ", "", "JOSE header typ of its tokens (default at+jwt)")
	c.Flags().StringVar(&s.usage, "usage", "tokens", "what it signs: tokens")
}

// ring builds the message. What was not given stays unset.
func (s *ringSettings) ring() (*pb.Ring, error) {
	r := &pb.Ring{Typ: s.typ, Algorithm: s.algorithm, Backend: s.backend, Labels: s.labels}
	if s.usage != "" {
		n, ok := pb.Ring_Usage_value["USAGE_"+strings.ToUpper(strings.ReplaceAll(s.usage, "-", "_"))]
		if !ok || n == 0 {
			return nil, cli.Misused(fmt.Sprintf("--usage: there is no usage %q", s.usage), "Choose:  tokens")
		}
		r.Usage = pb.Ring_Usage(n)
	}
	if s.protection != "" {
		n, ok := pb.Protection_value["PROTECTION_"+strings.ToUpper(s.protection)]
		if !ok || n == 0 {
			return nil, cli.Misused(fmt.Sprintf("--min-protection: there is no protection %q", s.protection), "Choose among:  software, remote, hsm")
		}
		r.MinProtection = pb.Protection(n)
	}
	if len(s.exact)+len(s.prefixes) > 0 || s.any {
		r.Audiences = &pb.Audiences{Exact: s.exact, Prefixes: s.prefixes, Any: s.any}
	}
	r.DefaultTtl, r.MaxTtl = s.duration("default-ttl", s.defaultTTL), s.duration("max-ttl", s.maxTTL)
	if s.changed("lifetime") || s.changed("propagation") || s.changed("skew") {
		r.Rotation = &pb.Rotation{
			Lifetime:    s.duration("lifetime", s.lifetime),
			Propagation: s.duration("propagation", s.propagation),
			Skew:        s.duration("skew", s.skew),
		}
	}
	return r, nil
}

func (s *ringSettings) changed(flag string) bool { return s.given.Changed(flag) }

func (s *ringSettings) duration(flag string, d time.Duration) *durationpb.Duration {
	if !s.changed(flag) {
		return nil
	}
	return durationpb.New(d)
}

// mask lists the settings that were given, each once.
func (s *ringSettings) mask() []string {
	seen := map[string]bool{}
	var mask []string
	s.given.Visit(func(f *pflag.Flag) {
		if path, ok := settingOf[f.Name]; ok && !seen[path] {
			seen[path] = true
			mask = append(mask, path)
		}
	})
	return mask
}

// keepRest fills in what a setting that is replaced whole had before, where no flag speaks of it.
func (s *ringSettings) keepRest(ring, before *pb.Ring) {
	if ring.GetRotation() == nil {
		return
	}
	old := before.GetRotation()
	if !s.changed("lifetime") {
		ring.Rotation.Lifetime = old.GetLifetime()
	}
	if !s.changed("propagation") {
		ring.Rotation.Propagation = old.GetPropagation()
	}
	if !s.changed("skew") {
		ring.Rotation.Skew = old.GetSkew()
	}
}
