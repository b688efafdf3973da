//! The vocabulary of a GGUF file as a tokenizer: the same parts a tokenizer.json would name.

use std::borrow::Cow;

use ahash::AHashMap;
use serde::de::DeserializeOwned;
use serde_json::{json, Value};
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper,
};

use crate::error::{Failure, Outcome, Status};
use crate::pre_tokenizers;
use crate::sentencepiece;
use crate::tokenizer::{check_charsmap, Tokenizer, MAX_ID};

/// tokenizer.ggml.token_type
pub const NORMAL: i32 = 1;
pub const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;
pub const UNUSED: i32 = 5;
pub const BYTE: i32 = 6;

/// Far below any log-probability, near enough to keep the precision of the others.
const NEVER: f64 = -1e4;

pub struct Vocab<'a> {
    pub model: &'a str,
    pub pre: &'a str,
    pub tokens: Vec<&'a str>,
    pub scores: &'a [f32],
    pub types: &'a [i32],
    pub merges: Vec<&'a str>,
    pub charsmap: &'a [u8],
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unk: Option<u32>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub add_space_prefix: Option<bool>,
    pub remove_extra_whitespaces: Option<bool>,
}

fn part<T: DeserializeOwned>(value: Value) -> Outcome<T> {
    serde_json::from_value(value).map_err(Failure::corrupt)
}

fn corrupt(error: tokenizers::Error) -> Failure {
    Failure::corrupt(error)
}

impl Vocab<'_> {
    fn kind(&self, id: u32) -> i32 {
        self.types.get(id as usize).copied().unwrap_or(NORMAL)
    }

    fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }

    /// The text of every token, made unique: an empty one gets a name that cannot be met in text.
    fn texts(&self) -> Outcome<Vec<Cow<'_, str>>> {
        let texts: Vec<Cow<str>> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(id, token)| match *token {
                "" => format!("[EMPTY_{id}]").into(),
                text => text.into(),
            })
            .collect();
        let mut seen = AHashMap::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            if let Some(other) = seen.insert(&**text, id) {
                return Err(Failure::corrupt(format!(
                    "token {text:?} has two ids, {other} and {id}; every token has one"
                )));
            }
        }
        Ok(texts)
    }

    fn check(&self) -> Outcome<()> {
        if self.tokens.is_empty() {
            return Err(Failure::corrupt("the vocabulary has no tokens"));
        }
        if self.tokens.len() > MAX_ID as usize {
            return Err(Failure::corrupt(format!(
                "the vocabulary has {} tokens; ids are below {MAX_ID}",
                self.tokens.len()
            )));
        }
        for (name, id) in [("bos", self.bos), ("eos", self.eos), ("unknown", self.unk)] {
            if id.is_some_and(|id| id as usize >= self.tokens.len()) {
                return Err(Failure::corrupt(format!(
                    "the {name} token has id {}, but the vocabulary has {} tokens",
                    id.unwrap_or_default(),
                    self.tokens.len()
                )));
            }
        }
        if let Some(at) = self.scores.iter().position(|score| !score.is_finite()) {
            return Err(Failure::corrupt(format!(
                "the score of token {at} is not a number"
            )));
        }
        Ok(())
    }

    fn byte_level(&self, texts: &[Cow<str>]) -> Outcome<(tokenizers::Tokenizer, bool)> {
        let rules = pre_tokenizers::rules(self.pre).ok_or_else(|| {
            Failure::new(
                Status::Unknown,
                format!(
                    "the pre-tokenizer '{}' is not known; known are {}",
                    self.pre,
                    pre_tokenizers::names().join(", ")
                ),
            )
        })?;
        let merges = self
            .merges
            .iter()
            .enumerate()
            .map(|(at, merge)| {
                // The first part may be a space itself, never empty.
                let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
                let (cut, _) = cut.ok_or_else(|| {
                    Failure::corrupt(format!("merge {at} {merge:?} is not two parts and a space"))
                })?;
                Ok((merge[..cut].to_string(), merge[cut + 1..].to_string()))
            })
            .collect::<Outcome<Vec<_>>>()?;
        let model = BPE::builder()
            .vocab_and_merges(ids_of(texts), merges)
            .ignore_merges(rules.ignore_merges)
            .build()
            .map_err(corrupt)?;
        let mut steps: Vec<Value> = rules
            .splits
            .iter()
            .map(|regex| {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated",
                       "invert": false})
            })
            .collect();
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false,
                                "trim_offsets": false, "use_regex": false});
        steps.push(byte_level.clone());
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(model));
        if rules.nfc {
            let nfc: NormalizerWrapper = part(json!({"type": "NFC"}))?;
            tokenizer.with_normalizer(Some(nfc)).map_err(corrupt)?;
        }
        let pre: PreTokenizerWrapper = part(json!({"type": "Sequence", "pretokenizers": steps}))?;
        let decoder: DecoderWrapper = part(byte_level)?;
        tokenizer.with_pre_tokenizer(Some(pre));
        tokenizer.with_decoder(Some(decoder));
        Ok((tokenizer, rules.add_bos))
    }

    fn sentencepiece_bpe(&self, texts: &[Cow<str>]) -> Outcome<tokenizers::Tokenizer> {
        // Control, unknown and byte tokens are never spelled by text.
        let pieces: Vec<(&str, u32, f32)> = texts
            .iter()
            .zip(0u32..)
            .filter(|(_, id)| !matches!(self.kind(*id), UNKNOWN | CONTROL | BYTE))
            .map(|(text, id)| (&**text, id, self.score(id)))
            .collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(ids_of(texts), sentencepiece::merges(&pieces)?)
            .byte_fallback(true)
            .fuse_unk(true);
        if let Some(unk) = self.unk_id() {
            builder = builder.unk_token(texts[unk as usize].to_string());
        }
        let mut tokenizer =
            tokenizers::Tokenizer::new(ModelWrapper::BPE(builder.build().map_err(corrupt)?));
        let escape = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        let normalizer: NormalizerWrapper = if self.add_space_prefix.unwrap_or(true) {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            part(json!({"type": "Sequence",
                        "normalizers": [{"type": "Prepend", "prepend": "▁"}, escape]}))?
        } else {
            part(escape)?
        };
        let decoder: DecoderWrapper = part(json!({"type": "Sequence", "decoders": decoders}))?;
        tokenizer
            .with_normalizer(Some(normalizer))
            .map_err(corrupt)?;
        tokenizer.with_decoder(Some(decoder));
        Ok(tokenizer)
    }

    fn unigram(&self, texts: &[Cow<str>]) -> Outcome<tokenizers::Tokenizer> {
        let pieces = texts
            .iter()
            .zip(0u32..)
            .map(|(text, id)| {
                let score = match self.kind(id) {
                    UNKNOWN | CONTROL | BYTE => NEVER,
                    USER_DEFINED => 0.0,
                    _ => f64::from(self.score(id)),
                };
                (text.to_string(), score)
            })
            .collect();
        let unk = self.unk_id().map(|id| id as usize);
        let model = Unigram::from(pieces, unk, false).map_err(corrupt)?;
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::Unigram(model));
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            check_charsmap(self.charsmap)?;
            steps.push(json!({"type": "Precompiled",
                              "precompiled_charsmap": base64(self.charsmap)}));
        }
        if self.remove_extra_whitespaces.unwrap_or(false) {
            steps.push(json!({"type": "Strip", "strip_left": false, "strip_right": true}));
            steps.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}));
        }
        let normalizer: NormalizerWrapper =
            part(json!({"type": "Sequence", "normalizers": steps}))?;
        let scheme = if self.add_space_prefix.unwrap_or(true) {
            "always"
        } else {
            "never"
        };
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                               "split": false});
        let pre: PreTokenizerWrapper = part(metaspace.clone())?;
        let decoder: DecoderWrapper = part(metaspace)?;
        tokenizer
            .with_normalizer(Some(normalizer))
            .map_err(corrupt)?;
        tokenizer.with_pre_tokenizer(Some(pre));
        tokenizer.with_decoder(Some(decoder));
        Ok(tokenizer)
    }

    fn unk_id(&self) -> Option<u32> {
        self.unk
            .or_else(|| (0..self.tokens.len() as u32).find(|id| self.kind(*id) == UNKNOWN))
    }

    fn added_tokens(&self, texts: &[Cow<str>]) -> Vec<AddedToken> {
        // Phi-3 is the one family whose special tokens swallow the white space after them; files do
        // not say so, and its placeholders are what tells it.
        let swallows = self.model == "llama"
            && ["<|placeholder1|>", "<|end|>", "<|user|>"]
                .iter()
                .all(|t| self.tokens.contains(t));
        let keeps = ["<unk>", "<s>", "<|endoftext|>"];
        texts
            .iter()
            .zip(0u32..)
            .filter_map(|(text, id)| {
                let special = matches!(self.kind(id), UNKNOWN | CONTROL)
                    || Some(id) == self.bos
                    || Some(id) == self.eos;
                if !special && self.kind(id) != USER_DEFINED {
                    return None;
                }
                let rstrip = swallows && special && !keeps.contains(&&**text);
                Some(
                    AddedToken::from(text.to_string(), special)
                        .normalized(false)
                        .rstrip(rstrip),
                )
            })
            .collect()
    }

    fn frame(&self, texts: &[Cow<str>], bos: bool, eos: bool) -> Outcome<PostProcessorWrapper> {
        let mut special = serde_json::Map::new();
        let mut entry = |what: &str, wanted: bool, id: Option<u32>| -> Outcome<Vec<Value>> {
            if !wanted {
                return Ok(vec![]);
            }
            let id = id.ok_or_else(|| {
                Failure::corrupt(format!(
                    "the vocabulary asks to add {what}, but names no {what}"
                ))
            })?;
            let text = &texts[id as usize];
            special.insert(
                text.to_string(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            );
            Ok(vec![json!({"SpecialToken": {"id": text, "type_id": 0}})])
        };
        let front = entry("bos", bos, self.bos)?;
        let back = entry("eos", eos, self.eos)?;
        let around = |sequence: &str| {
            let body = json!({"Sequence": {"id": sequence, "type_id": 0}});
            [front.clone(), vec![body], back.clone()].concat()
        };
        let pair = [around("A"), around("B")].concat();
        part(json!({"type": "TemplateProcessing", "single": around("A"),
                    "pair": pair, "special_tokens": special}))
    }

    pub fn build(mut self) -> Outcome<Tokenizer> {
        self.check()?;
        if self.model == "llama" && self.kind(1) == CONTROL {
            self.bos = self.bos.or(Some(1));
        }
        let texts = self.texts()?;
        let (mut tokenizer, bos, eos) = match self.model {
            "gpt2" => {
                let (tokenizer, bos) = self.byte_level(&texts)?;
                (tokenizer, bos && self.bos.is_some(), false)
            }
            "llama" => (self.sentencepiece_bpe(&texts)?, self.bos.is_some(), false),
            "t5" => (self.unigram(&texts)?, false, self.eos.is_some()),
            other => {
                return Err(Failure::new(
                    Status::Unknown,
                    format!("the vocabulary '{other}' is not known; known are gpt2, llama, t5"),
                ))
            }
        };
        let bos = self.add_bos.unwrap_or(bos);
        let eos = self.add_eos.unwrap_or(eos);
        if bos || eos {
            tokenizer.with_post_processor(Some(self.frame(&texts, bos, eos)?));
        }
        tokenizer
            .add_tokens(self.added_tokens(&texts))
            .map_err(corrupt)?;
        Tokenizer::of_size(tokenizer, self.tokens.len() as i64)
    }
}

fn ids_of(texts: &[Cow<str>]) -> AHashMap<String, u32> {
    let mut ids = AHashMap::with_capacity(texts.len());
    ids.extend(texts.iter().map(|text| text.to_string()).zip(0u32..));
    ids
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, &b| word << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() {
                DIGITS[value as usize] as char
            } else {
                '='
            });
        }
    }
    text
}
