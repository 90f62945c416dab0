package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// checker collects what is wrong with values that are well-formed.
type checker struct {
	config *Config
	faults []*Error
}

// check finds everything that can be found without looking at anything else.
func (c *Config) check() []*Error {
	k := &checker{config: c}
	k.listeners()
	k.public(c.Public)
	k.log(c.Log)
	k.bounds()
	for i, glob := range c.Schemas {
		k.glob(fmt.Sprintf("schemas[%d]", i), glob)
	}
	k.reference("events.source", c.Events.Source)
	if c.Events.Source == "" {
		k.report("events.source", errors.New("is empty: name a URI reference such as /ssebridge, or remove the key"))
	}
	k.oneOf("logging.level", c.Logging.Level, []string{"debug", "info", "warn", "error"})
	k.oneOf("logging.format", c.Logging.Format, []string{"text", "json"})
	k.issuers(c.Issuers)
	k.topics(c.Topics)
	return k.faults
}

func (k *checker) report(key string, err error) {
	if err != nil {
		k.faults = append(k.faults, k.config.at(key, err))
	}
}

func (k *checker) reportf(key, format string, args ...any) {
	k.report(key, fmt.Errorf(format, args...))
}

const (
	year       = 365 * 24 * time.Hour
	maxStreams = 10_000_000 // of one process
)

// bounds checks all numbers.
func (k *checker) bounds() {
	c := k.config
	within(k, "public.heartbeat", c.Public.Heartbeat, time.Second, time.Hour)
	within(k, "public.stall", c.Public.Stall, time.Second, time.Hour)
	within(k, "public.max_age", c.Public.MaxAge, time.Second, year)
	within(k, "limits.streams", c.Limits.Streams, 1, maxStreams)
	within(k, "limits.streams_per_principal", c.Limits.StreamsPerPrincipal, 0, maxStreams)
	within(k, "limits.streams_per_address", c.Limits.StreamsPerAddress, 0, maxStreams)
	within(k, "log.sync_interval", c.Log.SyncInterval, 100*time.Millisecond, time.Hour)
	within(k, "log.max_age", c.Log.MaxAge, time.Second, 10*year)
	within(k, "log.max_bytes", c.Log.MaxBytes, 1<<20, 1<<60)
	within(k, "log.duplicate_window", c.Log.DuplicateWindow, 100*time.Millisecond, 24*time.Hour)
	within(k, "log.replicas", c.Log.Replicas, 0, 5)
	within(k, "window.events", c.Window.Events, 1, 1<<27)
	within(k, "window.bytes", c.Window.Bytes, 1<<20, 1<<40)
	within(k, "history.bytes", c.History.Bytes, 1<<20, 1<<40)
	within(k, "history.reads", c.History.Reads, 1, 64)
	within(k, "publish.max_event_bytes", c.Publish.MaxEventBytes, 1<<10, 4<<20)
	within(k, "publish.in_flight", c.Publish.InFlight, 1, 10_000)
	within(k, "publish.max_age", c.Publish.MaxAge, time.Second, year)
	within(k, "drain.grace", c.Drain.Grace, time.Second, time.Hour)
}

func within[T cmp.Ordered](k *checker, key string, value, least, most T) {
	switch {
	case value < least:
		k.reportf(key, "%v is too little: choose at least %v", value, least)
	case value > most:
		k.reportf(key, "%v is too much: choose at most %v", value, most)
	}
}

func (k *checker) oneOf(key, value string, known []string) {
	if slices.Contains(known, value) {
		return
	}
	choice := "choose one of " + strings.Join(known, ", ")
	if near := nearest(value, known); near != "" {
		choice = "did you mean " + near + "?"
	}
	k.reportf(key, "%s is not known: %s", short(value), choice)
}

// unique reports a text that a list has twice or that is empty.
func (k *checker) unique(key string, list []string) {
	for i, text := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		if text == "" {
			k.report(at, errors.New("is empty: write a value, or remove the entry"))
		} else if slices.Contains(list[:i], text) {
			k.reportf(at, "%s is in the list twice: remove one", short(text))
		}
	}
}

func (k *checker) glob(key, glob string) {
	if glob == "" {
		k.report(key, errors.New("is empty: name a descriptor-set file, or remove the entry"))
	} else if _, err := filepath.Match(glob, ""); err != nil {
		k.reportf(key, "%s is no pattern: close the [, or write \\[ for the character itself", short(glob))
	}
}

var (
	streamName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	subjectPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}(\.[A-Za-z0-9_-]{1,128}){0,3}$`)
)

func (k *checker) log(log Log) {
	if log.URL != "" {
		for server := range strings.SplitSeq(log.URL, ",") {
			k.report("log.url", checkServer(strings.TrimSpace(server)))
		}
	} else {
		for key, file := range map[string]string{"log.credentials_file": log.CredentialsFile, "log.ca_file": log.CAFile} {
			if file != "" {
				k.report(key, errors.New("is for an external log only: set log.url too, or remove the key"))
			}
		}
		if log.Replicas > 1 {
			k.reportf("log.replicas", "the embedded log has one replica, not %d: set log.url, or remove the key", log.Replicas)
		}
		if log.DataDir == "" {
			k.report("log.data_dir", errors.New("is empty: name a directory for the embedded log, or remove the key"))
		}
	}
	if !streamName.MatchString(log.Stream) {
		k.reportf("log.stream", "%s is no name of a stream: use up to 255 letters, digits, - and _", short(log.Stream))
	}
	if !subjectPrefix.MatchString(log.SubjectPrefix) {
		k.reportf("log.subject_prefix", "%s is no prefix of subjects: use letters, digits, - and _, split by up to three dots", short(log.SubjectPrefix))
	}
}
