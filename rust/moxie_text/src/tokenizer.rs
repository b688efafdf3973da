//! A tokenizer of the `tokenizers` crate behind checks of our own.

use std::sync::RwLock;

use ahash::AHashSet;
use serde::Deserialize;

use crate::error::{Failure, Outcome};
use crate::vocab_of::from_base64;

/// No published vocabulary has more ids; an id beyond it would size later tables.
pub const MAX_ID: u32 = 1 << 24;
/// Longest regular expression a file may bring, and its deepest nesting.
const MAX_REGEX_BYTES: usize = 16 << 10;
const MAX_REGEX_DEPTH: usize = 100;

/// Steps of one search; ordinary text takes a few for each of its bytes.
const MAX_REGEX_STEPS: std::ffi::c_ulong = 20_000_000;

pub struct Tokenizer {
    // The flag "special tokens are plain text" lives inside the crate's object, so an encode that
    // needs the other setting takes the lock for writing.
    inner: RwLock<tokenizers::Tokenizer>,
    vocab_size: i64,
}

pub struct Encoded {
    pub ids: Vec<i32>,
    pub offsets: Vec<i64>,
}

impl Encoded {
    /// Adds what encodes text[begin..end]. A strange normalizer of a file can claim more text than
    /// there is, hence the bounds.
    fn append(&mut self, encoding: &tokenizers::Encoding, begin: usize, end: usize) {
        self.ids
            .extend(encoding.get_ids().iter().map(|&id| id as i32));
        self.offsets
            .extend(encoding.get_offsets().iter().flat_map(|&(from, to)| {
                let to = (begin + to).min(end);
                [(begin + from).min(to) as i64, to as i64]
            }));
    }

    /// Puts around it what the post-processor put around `encoding`.
    fn frame(&mut self, encoding: &tokenizers::Encoding) {
        let added = |(id, mask): (&u32, &u32)| (*mask != 0).then_some(*id as i32);
        let all = || {
            encoding
                .get_ids()
                .iter()
                .zip(encoding.get_special_tokens_mask())
        };
        let front: Vec<i32> = all().map_while(added).collect();
        let mut back: Vec<i32> = all().rev().map_while(added).collect();
        back.reverse();
        self.offsets.splice(0..0, vec![0; 2 * front.len()]);
        self.offsets.extend(vec![0; 2 * back.len()]);
        self.ids.splice(0..0, front);
        self.ids.extend(back);
    }
}

#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    added_tokens: Vec<DeclaredToken>,
}

#[derive(Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

fn message(error: tokenizers::Error) -> Failure {
    Failure::corrupt(error)
}

/// SentencePiece's map of characters opens with the bytes its trie takes: the crate reserves what
/// that number says before it reads on.
pub fn check_charsmap(map: &[u8]) -> Outcome<()> {
    let trie = match map {
        [a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    };
    if trie == 0 || trie % 4 != 0 || trie > map.len() - 4 {
        return Err(Failure::corrupt(format!(
            "precompiled_charsmap has {} bytes and claims a trie of {trie}",
            map.len()
        )));
    }
    Ok(())
}

/// Finds every `"Regex": "..."` of the file and refuses monsters before they are compiled; likewise
/// maps of characters.
fn check_patterns(value: &serde_json::Value) -> Outcome<()> {
    match value {
        serde_json::Value::Array(items) => items.iter().try_for_each(check_patterns),
        serde_json::Value::Object(fields) => {
            fields
                .iter()
                .try_for_each(|(key, field)| match (key.as_str(), field.as_str()) {
                    ("Regex", Some(pattern)) => check_pattern(pattern),
                    ("precompiled_charsmap", Some(map)) => check_charsmap(&from_base64(map)?),
                    _ => check_patterns(field),
                })
        }
        _ => Ok(()),
    }
}

fn check_pattern(pattern: &str) -> Outcome<()> {
    if pattern.len() > MAX_REGEX_BYTES {
        return Err(Failure::corrupt(format!(
            "a regular expression has {} bytes; at most {MAX_REGEX_BYTES} are accepted",
            pattern.len()
        )));
    }
    let mut depth = 0usize;
    let mut escaped = false;
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_REGEX_DEPTH {
            return Err(Failure::corrupt(format!(
                "a regular expression nests deeper than {MAX_REGEX_DEPTH}"
            )));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Patterned {
    #[serde(default)]
    normalizer: serde_json::Value,
    #[serde(default)]
    pre_tokenizer: serde_json::Value,
    #[serde(default)]
    decoder: serde_json::Value,
}

impl Tokenizer {
    pub fn from_json(json: &str) -> Outcome<Self> {
        let patterned: Patterned = serde_json::from_str(json).map_err(Failure::corrupt)?;
        check_patterns(&patterned.normalizer)?;
        check_patterns(&patterned.pre_tokenizer)?;
        check_patterns(&patterned.decoder)?;
        let declared: Declared = serde_json::from_str(json).map_err(Failure::corrupt)?;
        let inner: tokenizers::Tokenizer = json.parse().map_err(message)?;
        for token in &declared.added_tokens {
            if inner.token_to_id(&token.content) != Some(token.id) {
                return Err(Failure::corrupt(format!(
                    "added token {:?} claims id {}, but the vocabulary gives it {}",
                    token.content,
                    token.id,
                    inner
                        .token_to_id(&token.content)
                        .map_or("none".into(), |id| id.to_string())
                )));
            }
        }
        Self::new(inner)
    }

    pub fn new(inner: tokenizers::Tokenizer) -> Outcome<Self> {
        let mut seen = AHashSet::new();
        let mut highest = -1i64;
        for (token, id) in inner.get_vocab(true) {
            if id >= MAX_ID {
                return Err(Failure::corrupt(format!(
                    "token {token:?} has id {id}; ids are below {MAX_ID}"
                )));
            }
            if !seen.insert(id) {
                return Err(Failure::corrupt(format!(
                    "id {id} belongs to two tokens, one of them {token:?}; ids are unique"
                )));
            }
            highest = highest.max(i64::from(id));
        }
        Self::of_size(inner, highest + 1)
    }

    /// For a vocabulary whose ids are known to be 0 to vocab_size - 1, each once.
    pub fn of_size(mut inner: tokenizers::Tokenizer, vocab_size: i64) -> Outcome<Self> {
        // SAFETY: sets one global of the library, which a search reads when it starts.
        unsafe { onig_sys::onig_set_retry_limit_in_search(MAX_REGEX_STEPS) };
        // A file may carry the truncation and padding of its training; callers do their own.
        inner.with_truncation(None).map_err(message)?;
        inner.with_padding(None);
        Ok(Self {
            inner: RwLock::new(inner),
            vocab_size,
        })
    }

    fn read<T>(&self, body: impl FnOnce(&tokenizers::Tokenizer) -> T) -> T {
        body(
            &self
                .inner
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        )
    }

    /// The crate's own encoding. Special tokens spelled in `text` are plain text when `plain`.
    fn run(&self, text: &str, add_special: bool, plain: bool) -> Outcome<tokenizers::Encoding> {
        let shared = self
            .inner
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let encoding = if shared.get_encode_special_tokens() == plain {
            shared.encode(text, add_special)
        } else {
            drop(shared);
            let mut owned = self
                .inner
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            owned.set_encode_special_tokens(plain);
            owned.encode(text, add_special)
        };
        encoding.map_err(Failure::invalid)
    }

    /// Where `encoding` took a special token out of the text itself, which some models do (unigram
    /// models know every token): the places to cut the text so that none is whole.
    fn cuts(&self, text: &str, encoding: &tokenizers::Encoding) -> Vec<usize> {
        let added = encoding.get_special_tokens_mask();
        let spans = encoding
            .get_ids()
            .iter()
            .zip(encoding.get_offsets())
            .zip(added);
        spans
            .filter(|((&id, &(begin, end)), &added)| {
                added == 0
                    && end.min(text.len()) > begin
                    && self.is_special(id as i32)
                    && self
                        .token_text(id as i32)
                        .is_ok_and(|token| token == text[begin..end])
            })
            .filter_map(|((_, &(begin, _)), _)| {
                text[begin..]
                    .chars()
                    .next()
                    .map(|first| begin + first.len_utf8())
            })
            .collect()
    }

    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Outcome<Encoded> {
        let encoding = self.run(text, add_special, !parse_special)?;
        let cuts = if parse_special {
            vec![]
        } else {
            self.cuts(text, &encoding)
        };
        let mut out = Encoded {
            ids: vec![],
            offsets: vec![],
        };
        if cuts.is_empty() {
            out.append(&encoding, 0, text.len());
            return Ok(out);
        }
        let mut begin = 0;
        for end in cuts.into_iter().chain([text.len()]) {
            // What frames the text cannot be told from the pieces, so pieces go without it.
            out.append(&self.run(&text[begin..end], false, true)?, begin, end);
            begin = end;
        }
        if add_special {
            out.frame(&encoding);
        }
        Ok(out)
    }

    pub fn decode(&self, ids: &[i32], skip_special: bool) -> Outcome<String> {
        let ids = ids
            .iter()
            .map(|&id| {
                u32::try_from(id).map_err(|_| Failure::invalid(format!("id {id} is negative")))
            })
            .collect::<Outcome<Vec<u32>>>()?;
        self.read(|t| t.decode(&ids, skip_special))
            .map_err(Failure::invalid)
    }

    pub fn token_text(&self, id: i32) -> Outcome<String> {
        u32::try_from(id)
            .ok()
            .and_then(|id| {
                self.read(
                    |t| match t.get_added_vocabulary().get_added_tokens_decoder().get(&id) {
                        Some(token) => Some(token.content.clone()),
                        None => t.id_to_token(id),
                    },
                )
            })
            .ok_or_else(|| Failure::invalid(format!("there is no token with id {id}")))
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.read(|t| t.token_to_id(token))
    }

    pub fn vocab_size(&self) -> i64 {
        self.vocab_size
    }

    pub fn is_special(&self, id: i32) -> bool {
        u32::try_from(id).is_ok_and(|id| {
            self.read(|t| {
                let added = t.get_added_vocabulary().get_added_tokens_decoder();
                added.get(&id).is_some_and(|token| token.special)
            })
        })
    }

    pub fn json(&self) -> Outcome<String> {
        self.read(|t| t.to_string(false)).map_err(message)
    }
}
