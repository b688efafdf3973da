//! The functions of moxie_text.h. Each one reads its C arguments, calls the safe code of
//! `tokenizer` or `template` inside `contain`, and delivers.
#![allow(clippy::missing_safety_doc)] // the contract of every function here is moxie_text.h

mod budget;
mod call;
mod error;
mod ffi;
mod filters;
mod functions;
mod gguf_vocab;
mod metering;
mod methods;
mod operators;
mod pre_tokenizers;
mod python;
mod sentencepiece;
mod template;
mod tokenizer;
mod vocab_of;

use error::{Failure, Outcome, Status};
use ffi::{
    contain, deliver, reclaim, release, slice, Buffer, EncodingOut, RenderedOut, Str, VocabIn,
};
use gguf_vocab::Vocab;
use template::Template;
use tokenizer::Tokenizer;

#[no_mangle]
pub unsafe extern "C" fn moxie_text_buffer_free(buffer: Buffer) {
    unsafe { reclaim(buffer.data, buffer.size) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_encoding_free(encoding: EncodingOut) {
    unsafe {
        reclaim(encoding.ids, encoding.count);
        reclaim(encoding.offsets, encoding.count * 2);
    }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_rendered_free(rendered: RenderedOut) {
    unsafe {
        reclaim(rendered.text.data, rendered.text.size);
        reclaim(rendered.generated, rendered.ranges * 2);
    }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_tokenizer_from_json(
    json: Str,
    out: *mut *mut Tokenizer,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        let json = unsafe { json.text("the tokenizer file") };
        let json = json.map_err(|failure| Failure::corrupt(failure.message))?;
        Ok(Box::into_raw(Box::new(Tokenizer::from_json(json)?)))
    });
    unsafe { deliver(result, out, error) }
}

unsafe fn texts<'a>(strings: &'a [Str], what: &str) -> Outcome<Vec<&'a str>> {
    let text = |(at, s): (usize, &Str)| unsafe { s.text(format_args!("{what} {at}")) };
    let texts = strings
        .iter()
        .enumerate()
        .map(text)
        .collect::<Outcome<Vec<_>>>();
    texts.map_err(|failure| Failure::corrupt(failure.message))
}

unsafe fn read_vocab<'a>(vocab: &VocabIn) -> Outcome<Vocab<'a>> {
    let id = |id: i64| u32::try_from(id).ok();
    let flag = |flag: i32| (flag >= 0).then_some(flag != 0);
    unsafe {
        let scores = if vocab.scores.is_null() {
            0
        } else {
            vocab.token_count
        };
        let types = if vocab.types.is_null() {
            0
        } else {
            vocab.token_count
        };
        Ok(Vocab {
            model: vocab.model.text("the vocabulary's model")?,
            pre: vocab.pre.text("the pre-tokenizer's name")?,
            tokens: texts(slice(vocab.tokens, vocab.token_count), "token")?,
            scores: slice(vocab.scores, scores),
            types: slice(vocab.types, types),
            merges: texts(slice(vocab.merges, vocab.merge_count), "merge")?,
            charsmap: vocab.charsmap.bytes(),
            bos: id(vocab.bos),
            eos: id(vocab.eos),
            unk: id(vocab.unk),
            add_bos: flag(vocab.add_bos),
            add_eos: flag(vocab.add_eos),
            add_space_prefix: flag(vocab.add_space_prefix),
            remove_extra_whitespaces: flag(vocab.remove_extra_whitespaces),
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_tokenizer_from_vocab(
    vocab: *const VocabIn,
    out: *mut *mut Tokenizer,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        let vocab = unsafe { read_vocab(&*vocab) }?;
        Ok(Box::into_raw(Box::new(vocab.build()?)))
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        drop(unsafe { Box::from_raw(tokenizer) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_encode(
    tokenizer: *const Tokenizer,
    text: Str,
    add_special: i32,
    parse_special: i32,
    out: *mut EncodingOut,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        let text = unsafe { text.text("the text to encode") }?;
        let encoded = unsafe { &*tokenizer }.encode(text, add_special != 0, parse_special != 0)?;
        let (ids, count) = release(encoded.ids);
        let (offsets, _) = release(encoded.offsets);
        Ok(EncodingOut {
            ids,
            offsets,
            count,
        })
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_decode(
    tokenizer: *const Tokenizer,
    ids: *const i32,
    count: usize,
    skip_special: i32,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        let ids = unsafe { slice(ids, count) };
        Ok(unsafe { &*tokenizer }
            .decode(ids, skip_special != 0)?
            .into())
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_tokenizer_vocab(
    tokenizer: *const Tokenizer,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Internal, || {
        Ok(vocab_of::vocab_of(&unsafe { &*tokenizer }.json()?)?.into())
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub extern "C" fn moxie_text_pre_tokenizer(index: usize) -> Str {
    let name = pre_tokenizers::distinct().nth(index).unwrap_or_default();
    Str {
        data: name.as_ptr(),
        size: name.len(),
    }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_tokenizer_json(
    tokenizer: *const Tokenizer,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        Ok(unsafe { &*tokenizer }.json()?.into())
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_token_text(
    tokenizer: *const Tokenizer,
    id: i32,
    out: *mut Buffer,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        Ok(unsafe { &*tokenizer }.token_text(id)?.into())
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_token_id(tokenizer: *const Tokenizer, token: Str) -> i64 {
    let result = contain(Status::Corrupt, || {
        let token = unsafe { token.text("the token") }?;
        Ok(unsafe { &*tokenizer }.token_id(token).map_or(-1, i64::from))
    });
    result.unwrap_or(-1)
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_vocab_size(tokenizer: *const Tokenizer) -> i64 {
    unsafe { &*tokenizer }.vocab_size()
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_is_special(tokenizer: *const Tokenizer, id: i32) -> i32 {
    contain(
        Status::Corrupt,
        || Ok(unsafe { &*tokenizer }.is_special(id)),
    )
    .unwrap_or(false)
    .into()
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_template_new(
    source: Str,
    out: *mut *mut Template,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Corrupt, || {
        let source = unsafe { source.text("the template") };
        let source = source.map_err(|failure| Failure::corrupt(failure.message))?;
        Ok(Box::into_raw(Box::new(Template::new(source)?)))
    });
    unsafe { deliver(result, out, error) }
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_template_free(handle: *mut Template) {
    if !handle.is_null() {
        drop(unsafe { Box::from_raw(handle) });
    }
}

fn rendered(handle: &Template, context: &str) -> Outcome<RenderedOut> {
    let rendered = handle.render(context)?;
    let ranges = rendered.generated.len() / 2;
    let (generated, _) = release(rendered.generated);
    Ok(RenderedOut {
        text: rendered.text.into(),
        generated,
        ranges,
    })
}

#[no_mangle]
pub unsafe extern "C" fn moxie_text_template_render(
    handle: *const Template,
    context: Str,
    out: *mut RenderedOut,
    error: *mut Buffer,
) -> i32 {
    let result = contain(Status::Internal, || {
        rendered(unsafe { &*handle }, unsafe { context.text("the context") }?)
    });
    unsafe { deliver(result, out, error) }
}
